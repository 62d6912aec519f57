// rope_kv_write (spec section 6) and kv_write: rows are independent; threads take blocks of them.
#include <cmath>
#include <vector>

#include "cpu/set/kernels.h"
#include "ops/kv_pages.h"

namespace nvlm::cpu::NVLM_CPU_SET {
namespace {

// Rotate-half: pairs (i, i + d/2). cosine and sine hold d/2 values.
void rotate(float* head, int32_t d, const float* cosine, const float* sine) {
  const int32_t half = d / 2;
  int32_t i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    const Vec a = load(head + i), b = load(head + half + i), c = load(cosine + i), s = load(sine + i);
    store(head + i, sub(mul(a, c), mul(b, s)));
    store(head + half + i, fma(a, s, mul(b, c)));
  }
  for (; i < half; ++i) {
    const float a = head[i], b = head[half + i];
    head[i] = a * cosine[i] - b * sine[i];
    head[half + i] = b * cosine[i] + a * sine[i];
  }
}

void write_row(const nvlm_kv_cache& kv, const nvlm_constants& c, int64_t slot, const float* k, const float* v) {
  const int64_t page = slot / NVLM_PAGE_KEYS, offset = slot % NVLM_PAGE_KEYS * c.head_dim;
  for (int32_t h = 0; h < c.kv_heads; ++h) {
    std::copy_n(k + static_cast<int64_t>(h) * c.head_dim, c.head_dim, host::key_page(kv, c.layer, page, h) + offset);
    std::copy_n(v + static_cast<int64_t>(h) * c.head_dim, c.head_dim, host::value_page(kv, c.layer, page, h) + offset);
  }
}

}  // namespace

void rope_kv_write(const host::Op& op) {
  const nvlm_constants& c = op.c();
  const int32_t half = c.head_dim / 2;
  // Angles are products in double, rounded once, as the executable spec has them.
  std::vector<double> frequency(static_cast<size_t>(half));
  for (int32_t i = 0; i < half; ++i) frequency[static_cast<size_t>(i)] = std::pow(static_cast<double>(c.rope_theta), -2.0 * i / c.head_dim);
  parallel_rows(op, op.out_rows, row_grain(op.out_cols), [&](int64_t first, int64_t end) {
    std::vector<float> cosine(static_cast<size_t>(half)), sine(static_cast<size_t>(half));
    for (int64_t r = first; r < end; ++r) {
      for (int32_t i = 0; i < half; ++i) {
        const auto angle = static_cast<float>(op.batch->position[r] * frequency[static_cast<size_t>(i)]);
        cosine[static_cast<size_t>(i)] = std::cos(angle);
        sine[static_cast<size_t>(i)] = std::sin(angle);
      }
      float* q = op.out + r * op.out_cols;
      for (int32_t h = 0; h < c.heads + c.kv_heads; ++h) rotate(q + static_cast<int64_t>(h) * c.head_dim, c.head_dim, cosine.data(), sine.data());
      const float* k = q + static_cast<int64_t>(c.heads) * c.head_dim;
      write_row(*op.self_kv, c, op.batch->kv_slot[r], k, k + static_cast<int64_t>(c.kv_heads) * c.head_dim);
    }
  });
}

void kv_write(const host::Op& op) {
  const nvlm_constants& c = op.c();
  parallel_rows(op, op.in_rows, row_grain(op.in_cols), [&](int64_t first, int64_t end) {
    for (int64_t r = first; r < end; ++r) {
      const float* k = op.in + r * op.in_cols;
      write_row(*op.cross_kv, c, op.batch->kv_slot[r], k, k + static_cast<int64_t>(c.kv_heads) * c.head_dim);
    }
  });
}

}  // namespace nvlm::cpu::NVLM_CPU_SET
