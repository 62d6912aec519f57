#include <algorithm>
#include <cmath>

#include "reference/kernels.h"
#include "reference/kv_cache.h"

namespace nvlm::reference {
namespace {

// softmax(q·kᵀ / √d)·v of one head; each_key(visit) shows visit(k, v) every key and value in turn. sum: d doubles.
template <typename EachKey>
void attend(const float* q, int32_t d, double* sum, float* out, EachKey each_key) {
  const auto score = [&](const float* k) {
    double product = 0;
    for (int32_t i = 0; i < d; ++i) product += static_cast<double>(q[i]) * k[i];
    return product / std::sqrt(static_cast<double>(d));
  };
  double most = -INFINITY, total = 0;
  each_key([&](const float* k, const float*) { most = std::max(most, score(k)); });
  std::fill_n(sum, d, 0.0);
  each_key([&](const float* k, const float* v) {
    const double weight = std::exp(score(k) - most);
    total += weight;
    for (int32_t i = 0; i < d; ++i) sum[i] += weight * v[i];
  });
  for (int32_t i = 0; i < d; ++i) out[i] = total == 0 ? 0 : static_cast<float>(sum[i] / total);  // 0: an empty interval
}

// each_key(row, kv_head, visit) for every row and head.
template <typename EachKey>
void attend_all(const host::Op& op, EachKey each_key) {
  const nvlm_constants& c = op.c();
  for (int64_t r = 0; r < op.in_rows; ++r) {
    for (int32_t h = 0; h < c.heads; ++h) {
      const int64_t column = static_cast<int64_t>(h) * c.head_dim;
      attend(op.in + r * op.in_cols + column, c.head_dim, static_cast<double*>(op.scratch),
             op.out + r * op.out_cols + column, [&](auto visit) { each_key(r, h / (c.heads / c.kv_heads), visit); });
    }
  }
}

void tile_attention(const host::Op& op) {
  const nvlm_constants& c = op.c();
  const int64_t width = static_cast<int64_t>(c.heads) * c.head_dim;
  attend_all(op, [&](int64_t r, int32_t head, auto visit) {
    const int64_t first = r / c.rows_each * c.rows_each;
    for (int64_t k = first; k < first + c.rows_each; ++k) {
      const float* q = op.in + k * op.in_cols + static_cast<int64_t>(head) * c.head_dim;
      visit(q + width, q + 2 * width);
    }
  });
}

void paged_attention(const host::Op& op, const nvlm_kv_cache& kv, const nvlm_pages& pages, const int32_t* begin,
                     const int32_t* end) {
  const nvlm_constants& c = op.c();
  attend_all(op, [&](int64_t r, int32_t kv_head, auto visit) {
    int32_t s = 0, key = 0;
    while (r >= op.batch->row_begin[s + 1]) ++s;
    for (int32_t p = pages.begin[s]; p < pages.begin[s + 1]; ++p) {
      for (int32_t i = 0; i < pages.fill[p]; ++i, ++key) {
        if (key < begin[r] || key >= end[r]) continue;
        visit(cached(kv, Cached::key, c.layer, pages.page[p], kv_head, i),
              cached(kv, Cached::value, c.layer, pages.page[p], kv_head, i));
      }
    }
  });
}

}  // namespace

uint64_t attention_scratch(const host::Op& op) { return static_cast<uint64_t>(op.c().head_dim) * sizeof(double); }

void attention(const host::Op& op) {
  const nvlm_batch& b = *op.batch;
  switch (op.c().source) {
    case NVLM_KEYS_SELF: return paged_attention(op, *op.self_kv, b.self_pages, b.self_begin, b.self_end);
    case NVLM_KEYS_CROSS: return paged_attention(op, *op.cross_kv, b.cross_pages, b.cross_begin, b.cross_end);
    case NVLM_KEYS_TILE: return tile_attention(op);
  }
}

}  // namespace nvlm::reference
