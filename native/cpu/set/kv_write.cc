// rope_kv_write (spec section 6) and kv_write: rows are independent; threads take blocks of them.
#include <cmath>

#include "cpu/kv_pages.h"
#include "cpu/set/kernels.h"

namespace nvlm::cpu::NVLM_CPU_SET {
namespace {

// Rotate-half on each of a row's heads: pairs (i, i + d/2) by the angle position·frequency[i], a product in double
// rounded once, as the executable spec has it.
void rotate(float* row, int32_t heads, int32_t d, int32_t position, const double* frequency) {
  const int32_t half = d / 2;
  for (int32_t first = 0; first < half; first += kLanes) {
    const int32_t count = std::min(kLanes, half - first);
    float cosine[kLanes], sine[kLanes];
    for (int32_t i = 0; i < count; ++i) {
      const auto angle = static_cast<float>(position * frequency[first + i]);
      cosine[i] = std::cos(angle);
      sine[i] = std::sin(angle);
    }
    for (int32_t h = 0; h < heads; ++h) {
      float *low = row + static_cast<int64_t>(h) * d + first, *high = low + half;
      if (count == kLanes) {
        const Vec a = load(low), b = load(high), c = load(cosine), s = load(sine);
        store(low, sub(mul(a, c), mul(b, s)));
        store(high, fma(a, s, mul(b, c)));
        continue;
      }
      for (int32_t i = 0; i < count; ++i) {
        const float a = low[i], b = high[i];
        low[i] = a * cosine[i] - b * sine[i];
        high[i] = b * cosine[i] + a * sine[i];
      }
    }
  }
}

void write_row(const nvlm_kv_cache& kv, const nvlm_constants& c, int64_t slot, const float* k, const float* v) {
  const int64_t page = slot / NVLM_PAGE_KEYS, offset = slot % NVLM_PAGE_KEYS * c.head_dim;
  for (int32_t h = 0; h < c.kv_heads; ++h) {
    std::copy_n(k + static_cast<int64_t>(h) * c.head_dim, c.head_dim, key_page(kv, c.layer, page, h) + offset);
    std::copy_n(v + static_cast<int64_t>(h) * c.head_dim, c.head_dim, value_page(kv, c.layer, page, h) + offset);
  }
}

}  // namespace

// A frequency for each pair of a head.
uint64_t rope_kv_write_scratch(const host::Op& op) {
  return static_cast<uint64_t>(op.c().head_dim / 2) * sizeof(double);
}

void rope_kv_write(const host::Op& op) {
  const nvlm_constants& c = op.c();
  auto* frequency = static_cast<double*>(op.scratch);
  for (int32_t i = 0; i < c.head_dim / 2; ++i)
    frequency[i] = std::pow(static_cast<double>(c.rope_theta), -2.0 * i / c.head_dim);
  parallel_rows(op.threads, op.out_rows, row_grain(op.out_cols), [&](int64_t first, int64_t end) {
    for (int64_t r = first; r < end; ++r) {
      float* q = op.out + r * op.out_cols;
      rotate(q, c.heads + c.kv_heads, c.head_dim, op.batch->position[r], frequency);
      const float* k = q + static_cast<int64_t>(c.heads) * c.head_dim;
      write_row(*op.self_kv, c, op.batch->kv_slot[r], k, k + static_cast<int64_t>(c.kv_heads) * c.head_dim);
    }
  });
}

void kv_write(const host::Op& op) {
  const nvlm_constants& c = op.c();
  parallel_rows(op.threads, op.in_rows, row_grain(op.in_cols), [&](int64_t first, int64_t end) {
    for (int64_t r = first; r < end; ++r) {
      const float* k = op.in + r * op.in_cols;
      write_row(*op.cross_kv, c, op.batch->kv_slot[r], k, k + static_cast<int64_t>(c.kv_heads) * c.head_dim);
    }
  });
}

}  // namespace nvlm::cpu::NVLM_CPU_SET
