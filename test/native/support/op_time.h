// ops_test --time: every case is first compared with the reference, then timed; a case that is wrong prints no time.
#pragma once

#include <string>
#include <vector>

#include "support/op_runner.h"

namespace nvlm::test {

// One line a case and instruction set, on all usable cores. word: only cases whose name contains it, or nullptr; json:
// a file that gets the same, or nullptr. Returns the exit code: 1 when a case is wrong, or the file cannot be written.
int time_ops(const std::vector<std::string>& sets, const std::vector<OpCase>& cases, const char* word,
             const char* json);

}  // namespace nvlm::test
