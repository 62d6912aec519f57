// Whether a planned model fits into the free memory of its device.
#pragma once

#include "model/blueprint.h"

namespace nvlm {

// Throws Error("out-of-memory") with the numbers, and what would fit, when the plan is larger than what is free.
void refuse_if_too_large(const Blueprint& blueprint, Device& device);

}  // namespace nvlm
