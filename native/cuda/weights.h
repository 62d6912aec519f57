// Weights on the device: matrices and tables as bf16 with rows padded to 16 bytes, vectors as float32.
#pragma once

#include <functional>

#include "cuda/device.h"
#include "ops/packed_weight.h"

namespace nvlm::gpu {

// Elements between two rows of a matrix or table.
inline int64_t pitch_of(int64_t cols) { return (cols + 7) / 8 * 8; }

uint64_t weight_bytes(const nvlm_weight_source& source);
// A weight laid out for the source, whose bytes `fill` puts there (or enqueues); its memory is given back when that
// fails.
nvlm_status make_weight(nvlm_device* device, const nvlm_weight_source& source,
                        const std::function<nvlm_status(const nvlm_weight&)>& fill, nvlm_weight** weight);
nvlm_status upload_weight(nvlm_device* device, const nvlm_weight_source* source, nvlm_weight** weight);

}  // namespace nvlm::gpu
