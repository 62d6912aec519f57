// What the sources of one instruction set share. Compiled once per set: NVLM_CPU_SET is its namespace, NVLM_CPU_SIMD
// its vocabulary.
#pragma once

#include NVLM_CPU_SIMD

#include <algorithm>
#include <cstdint>

#include "host/kernels.h"

namespace nvlm::cpu::NVLM_CPU_SET {

void patch_embed(const host::Op& op);
uint64_t patch_embed_scratch(const host::Op& op);
void rms_norm(const host::Op& op);
void layer_norm(const host::Op& op);
void qk_norm(const host::Op& op);
void linear(const host::Op& op);
void linear_gelu(const host::Op& op);
void linear_swiglu(const host::Op& op);
void linear_residual(const host::Op& op);
void rope_kv_write(const host::Op& op);
uint64_t rope_kv_write_scratch(const host::Op& op);
void kv_write(const host::Op& op);
void attention(const host::Op& op);
uint64_t attention_scratch(const host::Op& op);
void pixel_shuffle_norm(const host::Op& op);
void embed(const host::Op& op);
void gather_rows(const host::Op& op);

// The table of all these: a set that has kernels of its own copies it and replaces them in the copy.
const host::Kernels& kernels();

uint64_t packed_bytes(const nvlm_weight_source& source);
void pack(const nvlm_weight_source& source, nvlm_weight& weight, const host::Threads& threads);

// (x − mean)·scale·w + b over one row.
void layer_norm_row(const float* in, float* out, const float* w, const float* bias, int64_t n, float eps);

// body(first, end) over blocks of `grain` rows, in parallel.
template <typename Body>
void parallel_rows(const host::Threads& threads, int64_t rows, int64_t grain, Body body) {
  const int64_t blocks = (rows + grain - 1) / grain;
  threads.parallel(blocks, [&](int64_t b, int) { body(b * grain, std::min(rows, (b + 1) * grain)); });
}

// Rows to one task, so that a task moves some tens of kilobytes: less is lost in handing out, more leaves threads
// without work.
inline int64_t row_grain(int64_t cols) { return std::max<int64_t>(1, 8192 / std::max<int64_t>(cols, 1)); }

}  // namespace nvlm::cpu::NVLM_CPU_SET
