// Weights on the device: matrices and tables as bf16 with rows padded to 16 bytes, vectors as float32.
#pragma once

#include "cuda/device.h"
#include "ops/packed_weight.h"

namespace nvlm::gpu {

uint64_t weight_bytes(const nvlm_weight_source& source);
nvlm_status upload_weight(nvlm_device* device, const nvlm_weight_source* source, nvlm_weight** weight);

}  // namespace nvlm::gpu
