// Choosing a token from logits; the one implementation of the backends in host memory.
#pragma once

#include <cstdint>

#include "ops/ops.h"

namespace nvlm::host {

// One out row: logits [vocab] -> *sampled. Penalties, temperature, top-k, top-p, min-p, then a draw that is a hash of (seed, step).
// Non-finite logits give token -1.
void sample_row(const float* logits, int64_t vocab, const nvlm_sampling& options, nvlm_sampled* sampled);

}  // namespace nvlm::host
