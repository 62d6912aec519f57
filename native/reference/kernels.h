// The naive float32 reference: one function an op, one thread, written to be read beside the spec. Sums run in double,
// so that this is the truth that every other backend is measured against. Shapes and meaning: ops/ops.h.
#pragma once

#include "host/op.h"

namespace nvlm::reference {

void patch_embed(const host::Op& op);
void rms_norm(const host::Op& op);
void layer_norm(const host::Op& op);
void qk_norm(const host::Op& op);
void linear(const host::Op& op);
void linear_gelu(const host::Op& op);
void linear_swiglu(const host::Op& op);
void linear_residual(const host::Op& op);
void rope_kv_write(const host::Op& op);
void kv_write(const host::Op& op);
void attention(const host::Op& op);
uint64_t attention_scratch(const host::Op& op);
void pixel_shuffle_norm(const host::Op& op);
void embed(const host::Op& op);
void gather_rows(const host::Op& op);
void sample(const host::Op& op);
uint64_t sample_scratch(const host::Op& op);

// Row r of a reference matrix or table: float32, dense.
inline const float* row(const nvlm_weight& w, int64_t r) { return w.floats() + r * w.cols; }

}  // namespace nvlm::reference
