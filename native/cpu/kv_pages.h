// Where a page of a float32 key/value cache lies: for each layer k then v, each [pages][kv_heads][64][head_dim].
#pragma once

#include <cstdint>

#include "ops/ops.h"

namespace nvlm::cpu {

// [64, head_dim] keys of one head in one page.
inline float* key_page(const nvlm_kv_cache& kv, int32_t layer, int64_t page, int32_t kv_head) {
  const auto page_floats = static_cast<int64_t>(nvlm_kv_page_elements(&kv));
  return static_cast<float*>(kv.memory) + (static_cast<int64_t>(layer) * 2 * kv.pages + page) * page_floats +
         static_cast<int64_t>(kv_head) * NVLM_PAGE_KEYS * kv.head_dim;
}

inline float* value_page(const nvlm_kv_cache& kv, int32_t layer, int64_t page, int32_t kv_head) {
  return key_page(kv, layer, page, kv_head) +
         static_cast<int64_t>(kv.pages) * static_cast<int64_t>(nvlm_kv_page_elements(&kv));
}

}  // namespace nvlm::cpu
