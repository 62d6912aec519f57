// The checks that stand between a program or batch and memory: every size when a plan is compiled, every index when it
// is run.
#pragma once

#include <string>

#include "ops/ops.h"

namespace nvlm {

// What is wrong, naming the op; empty: nothing.
std::string check_program(const nvlm_program& program);
std::string check_batch(const nvlm_program& program, const nvlm_batch& batch);

}  // namespace nvlm
