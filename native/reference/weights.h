// Weights as the reference keeps them: float32, rows in their final order, dense.
#pragma once

#include "host/threads.h"
#include "ops/packed_weight.h"

namespace nvlm::reference {

uint64_t packed_bytes(const nvlm_weight_source& source);
void pack(const nvlm_weight_source& source, nvlm_weight& weight, const host::Threads& threads);

}  // namespace nvlm::reference
