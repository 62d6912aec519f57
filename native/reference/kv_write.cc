#include <algorithm>
#include <cmath>

#include "host/kv_pages.h"
#include "reference/kernels.h"

namespace nvlm::reference {
namespace {

// Rotate-half: pairs (i, i + d/2). Angles in float32 after a product in double, as the executable spec has them.
void rotate(float* head, int32_t d, int32_t position, double theta) {
  for (int32_t i = 0; i < d / 2; ++i) {
    const auto angle = static_cast<float>(position * std::pow(theta, -2.0 * i / d));
    const float cosine = std::cos(angle), sine = std::sin(angle);
    const float a = head[i], b = head[i + d / 2];
    head[i] = a * cosine - b * sine;
    head[i + d / 2] = b * cosine + a * sine;
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
  for (int64_t r = 0; r < op.out_rows; ++r) {
    float* q = op.out + r * op.out_cols;
    for (int32_t h = 0; h < c.heads + c.kv_heads; ++h)
      rotate(q + static_cast<int64_t>(h) * c.head_dim, c.head_dim, op.batch->position[r], c.rope_theta);
    const float* k = q + static_cast<int64_t>(c.heads) * c.head_dim;
    write_row(*op.self_kv, c, op.batch->kv_slot[r], k, k + static_cast<int64_t>(c.kv_heads) * c.head_dim);
  }
}

void kv_write(const host::Op& op) {
  const nvlm_constants& c = op.c();
  for (int64_t r = 0; r < op.in_rows; ++r) {
    const float* k = op.in + r * op.in_cols;
    write_row(*op.cross_kv, c, op.batch->kv_slot[r], k, k + static_cast<int64_t>(c.kv_heads) * c.head_dim);
  }
}

}  // namespace nvlm::reference
