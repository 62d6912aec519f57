// Why a GPU can or can't be used: in words that name the fix.
#pragma once

#include <string>

#include "cuda/gpu.h"

namespace nvlm::gpu {

// GPUs the driver shows; 0 with the reason.
int count_devices(std::string* reason);
// Empty: GPU `index` can be used.
std::string unavailable(int index);
// Why this GPU, of which that was thought, can't be used: setting it up, or its first kernel, answered `status`.
std::string refusal(const DeviceInfo& info, Status status);

}  // namespace nvlm::gpu
