// Why a GPU can or can't be used: in words that name the mend.
#pragma once

#include <string>

namespace nvlm::gpu {

// GPUs the driver shows; 0 with the reason.
int count_devices(std::string* reason);
// Empty: GPU `index` can be used.
std::string unavailable(int index);

}  // namespace nvlm::gpu
