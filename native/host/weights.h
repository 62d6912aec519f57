// Weights in host memory, packed as the device's kernels like them.
#pragma once

#include "host/device.h"
#include "ops/packed_weight.h"

namespace nvlm::host {

nvlm_status upload_weight(Device& device, const nvlm_weight_source& source, nvlm_weight** weight);
void free_weight(Device& device, nvlm_weight* weight);

}  // namespace nvlm::host
