#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/kv_pages.h"
#include "ops/reference/kernels.h"

namespace nvlm::reference {
namespace {

// softmax(q·kᵀ / √d)·v over given key and value rows of one head.
void attend(const float* q, const std::vector<const float*>& keys, const std::vector<const float*>& values, int32_t d, float* out) {
  std::fill_n(out, d, 0.0f);
  if (keys.empty()) return;
  std::vector<double> score(keys.size());
  double most = -INFINITY, total = 0;
  for (size_t k = 0; k < keys.size(); ++k) {
    double sum = 0;
    for (int32_t i = 0; i < d; ++i) sum += static_cast<double>(q[i]) * keys[k][i];
    score[k] = sum / std::sqrt(static_cast<double>(d));
    most = std::max(most, score[k]);
  }
  for (double& s : score) total += s = std::exp(s - most);
  for (int32_t i = 0; i < d; ++i) {
    double sum = 0;
    for (size_t k = 0; k < keys.size(); ++k) sum += score[k] * values[k][i];
    out[i] = static_cast<float>(sum / total);
  }
}

void tile_attention(const host::Op& op) {
  const nvlm_constants& c = op.c();
  const int64_t width = static_cast<int64_t>(c.heads) * c.head_dim;
  for (int64_t r = 0; r < op.in_rows; ++r) {
    const int64_t first = r / c.rows_each * c.rows_each;
    for (int32_t h = 0; h < c.heads; ++h) {
      std::vector<const float*> keys, values;
      for (int64_t k = first; k < first + c.rows_each; ++k) {
        const float* qkv = op.in + k * op.in_cols + static_cast<int64_t>(h) * c.head_dim;
        keys.push_back(qkv + width);
        values.push_back(qkv + 2 * width);
      }
      attend(op.in + r * op.in_cols + static_cast<int64_t>(h) * c.head_dim, keys, values, c.head_dim, op.out + r * op.out_cols + static_cast<int64_t>(h) * c.head_dim);
    }
  }
}

void paged_attention(const host::Op& op, const nvlm_kv_cache& kv, const nvlm_pages& pages, const int32_t* begin, const int32_t* end) {
  const nvlm_constants& c = op.c();
  const nvlm_batch& b = *op.batch;
  for (int32_t s = 0; s < b.sequences; ++s) {
    std::vector<std::pair<int32_t, int32_t>> place;  // key number -> page, place in it
    for (int32_t p = pages.begin[s]; p < pages.begin[s + 1]; ++p) {
      for (int32_t k = 0; k < pages.fill[p]; ++k) place.emplace_back(pages.page[p], k);
    }
    for (int32_t r = b.row_begin[s]; r < b.row_begin[s + 1]; ++r) {
      for (int32_t h = 0; h < c.heads; ++h) {
        const int32_t kv_head = h / (c.heads / c.kv_heads);
        std::vector<const float*> keys, values;
        for (int32_t k = begin[r]; k < end[r]; ++k) {
          const int64_t offset = static_cast<int64_t>(place[k].second) * c.head_dim;
          keys.push_back(host::key_page(kv, c.layer, place[k].first, kv_head) + offset);
          values.push_back(host::value_page(kv, c.layer, place[k].first, kv_head) + offset);
        }
        attend(op.in + r * op.in_cols + static_cast<int64_t>(h) * c.head_dim, keys, values, c.head_dim, op.out + r * op.out_cols + static_cast<int64_t>(h) * c.head_dim);
      }
    }
  }
}

}  // namespace

void attention(const host::Op& op) {
  const nvlm_batch& b = *op.batch;
  switch (op.c().source) {
    case NVLM_KEYS_SELF: return paged_attention(op, *op.self_kv, b.self_pages, b.self_begin, b.self_end);
    case NVLM_KEYS_CROSS: return paged_attention(op, *op.cross_kv, b.cross_pages, b.cross_begin, b.cross_end);
    case NVLM_KEYS_TILE: return tile_attention(op);
  }
}

}  // namespace nvlm::reference
