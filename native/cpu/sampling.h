// The sample op of the backends in host memory: choosing a token from logits. Scalar work, the same for every
// instruction set.
#pragma once

#include <cstdint>

#include "host/op.h"

namespace nvlm::cpu {

// For each out row: logits [vocab] -> batch.sampled. Penalties, temperature, top-k, top-p, min-p, then a draw that is a
// hash of (seed, step). Non-finite logits give token -1. Rows are sampled in parallel.
void sample(const host::Op& op);
uint64_t sample_scratch(const host::Op& op);

}  // namespace nvlm::cpu
