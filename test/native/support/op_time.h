// ops_test --time: one line a case and instruction set; a case that is wrong prints no time.
#pragma once

#include <string>
#include <vector>

#include "support/op_runner.h"

namespace nvlm::test {

// Exit code.
int time_ops(const std::vector<std::string>& sets, const std::vector<OpCase>& cases, const char* word);

}  // namespace nvlm::test
