// Where a key or value lies in a cache: for each layer k, then v, each float32 [pages][kv_heads][64][head_dim].
#pragma once

#include <cstdint>

#include "ops/ops.h"

namespace nvlm::reference {

enum class Cached { key, value };

// The head_dim floats of one head at place `place` of a page.
inline float* cached(const nvlm_kv_cache& kv, Cached kind, int64_t layer, int64_t page, int64_t head, int64_t place) {
  int64_t at = layer * 2 + (kind == Cached::value ? 1 : 0);
  at = at * kv.pages + page;
  at = at * kv.kv_heads + head;
  at = at * NVLM_PAGE_KEYS + place;
  return static_cast<float*>(kv.memory) + at * kv.head_dim;
}

}  // namespace nvlm::reference
