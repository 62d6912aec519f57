// Weights in host memory: vectors as float32, matrices and tables as the device's kernels pack them.
#pragma once

#include "host/device.h"
#include "ops/packed_weight.h"

namespace nvlm::host {

uint64_t weight_bytes(const Device& device, const nvlm_weight_source& source);
nvlm_status upload_weight(Device& device, const nvlm_weight_source& source, nvlm_weight** weight);
void free_weight(Device& device, nvlm_weight* weight);

}  // namespace nvlm::host
