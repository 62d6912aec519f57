// What the attention kernels share on the host: their launchers, and the operands of attention over pages.
//
// Sources: NVLM_KEYS_SELF and NVLM_KEYS_CROSS read pages, NVLM_KEYS_TILE the columns [q | k | v] of `in`. attention.cc chooses.
#pragma once

#include <cmath>

#include "cuda/launchers.h"

namespace nvlm::gpu {

Status enqueue_attention_tile(const Op& op);     // attention_tile_sm80.cu
Status enqueue_attention_prefill(const Op& op);  // attention_prefill_sm80.cu
Status enqueue_attention_decode(const Op& op);   // attention_decode_sm80.cu
Status enqueue_attention_any(const Op& op);      // attention_any.cu

// Keys of one layer in pages, and each row's interval of them.
struct PagedKeys {
  const bf16 *keys, *values;    // [pages][kv_heads][64][head_dim]
  const int32_t *begin, *end;   // [rows]
  PageList pages;
};

inline PagedKeys paged_keys(const Op& op) {
  const Batch& b = *op.batch;
  const int32_t layer = op.c().layer;
  if (op.c().source == NVLM_KEYS_SELF) return {op.self_kv.keys(layer), op.self_kv.values(layer), b.self_begin, b.self_end, b.self_pages};
  return {op.cross_kv.keys(layer), op.cross_kv.values(layer), b.cross_begin, b.cross_end, b.cross_pages};
}

// exp(x / sqrt(d)) = exp2(x * attention_scale(d)).
inline float attention_scale(int32_t head_dim) { return static_cast<float>(1.44269504088896340736 / std::sqrt(static_cast<double>(head_dim))); }

// Blocks of attention_decode: (rows, kv heads times groups of 16 query heads, splits).
constexpr int32_t kDecodeHeads = 16, kMaxSplits = 64;
inline int32_t decode_groups(int32_t heads, int32_t kv_heads) { return (heads / kv_heads + kDecodeHeads - 1) / kDecodeHeads; }
// One block a multiprocessor. Nothing that changes from step to step counts in, since graphs hold the number.
inline int32_t decode_splits(int32_t multiprocessors, int64_t rows, int32_t heads, int32_t kv_heads) {
  const int64_t blocks = rows * kv_heads * decode_groups(heads, kv_heads), splits = blocks > 0 ? multiprocessors / blocks : 1;
  return static_cast<int32_t>(splits < 1 ? 1 : splits > kMaxSplits ? kMaxSplits : splits);
}

}  // namespace nvlm::gpu
