// What the attention kernels share on the host: their launchers, and the operands of attention over pages.
//
// Sources: NVLM_KEYS_SELF and NVLM_KEYS_CROSS read pages, NVLM_KEYS_TILE the columns [q | k | v] of `in`. attention.cc
// chooses.
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
  const bf16 *keys, *values;   // [pages][kv_heads][64][head_dim]
  const int32_t *begin, *end;  // [rows]
  PageList pages;
};

inline PagedKeys paged_keys(const Op& op) {
  const DeviceBatch& b = *op.batch;
  const int32_t layer = op.c().layer;
  if (op.c().source == NVLM_KEYS_SELF)
    return {op.self_kv.keys(layer), op.self_kv.values(layer), b.self_begin, b.self_end, b.self_pages};
  return {op.cross_kv.keys(layer), op.cross_kv.values(layer), b.cross_begin, b.cross_end, b.cross_pages};
}

// exp(x / sqrt(d)) = exp2(x * attention_scale(d)).
inline float attention_scale(int32_t head_dim) {
  return static_cast<float>(1.44269504088896340736 / std::sqrt(static_cast<double>(head_dim)));
}

// A block of attention_decode takes up to 16 query heads of a kv head.
constexpr int32_t kDecodeHeads = 16;
inline int32_t decode_groups(int32_t heads, int32_t kv_heads) {
  return (heads / kv_heads + kDecodeHeads - 1) / kDecodeHeads;
}

// Into how many shares of pages the work of `blocks` blocks is split at most: one block a multiprocessor. Nothing that
// changes from step to step counts in, since graphs hold the number; rows with few pages use fewer shares, which the
// blocks see for themselves.
constexpr int32_t kMaxShares = 64;
inline int32_t page_shares(int32_t multiprocessors, int64_t blocks) {
  const int64_t shares = blocks > 0 ? multiprocessors / blocks : 1;
  return static_cast<int32_t>(shares < 1 ? 1 : shares > kMaxShares ? kMaxShares : shares);
}

// Where blocks with several shares leave their sums, in the workspace: [blocks][shares][rows][head_dim], then {largest
// score, weight} [blocks][shares][rows].
struct Partial {
  float* sums;
  float2* state;
  uint32_t* arrived;  // [blocks]
};
// False: the workspace is too small.
inline bool partial_of(const Workspace& w, int64_t blocks, int32_t shares, int32_t rows, int32_t head_dim,
                       Partial* partial) {
  *partial = {};
  if (shares == 1) return true;
  const int64_t states = blocks * shares * rows;
  if (w.float_count < states * (head_dim + 2) || w.counter_count < blocks) return false;
  *partial = {w.floats, reinterpret_cast<float2*>(w.floats + states * head_dim), w.counters};
  return true;
}

}  // namespace nvlm::gpu
