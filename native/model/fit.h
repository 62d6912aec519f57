// Whether a planned model fits into the free memory of its device.
#pragma once

#include "model/description.h"

namespace nvlm {

class Device;

// Throws Error("out-of-memory") with the numbers, and what would fit, when the plan is larger than what is free.
void refuse_if_too_large(const Description& description, const Device& device);

}  // namespace nvlm
