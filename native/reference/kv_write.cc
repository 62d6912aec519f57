#include <cmath>

#include "reference/kernels.h"
#include "reference/kv_cache.h"

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

// Key and value of every head, back to back at k and v, to a slot of the cache: page * 64 + place.
void write(const nvlm_kv_cache& kv, const nvlm_constants& c, int64_t slot, const float* k, const float* v) {
  for (int32_t h = 0; h < c.kv_heads; ++h) {
    float* key = cached(kv, Cached::key, c.layer, slot / NVLM_PAGE_KEYS, h, slot % NVLM_PAGE_KEYS);
    float* value = cached(kv, Cached::value, c.layer, slot / NVLM_PAGE_KEYS, h, slot % NVLM_PAGE_KEYS);
    for (int32_t i = 0; i < c.head_dim; ++i) {
      key[i] = k[h * c.head_dim + i];
      value[i] = v[h * c.head_dim + i];
    }
  }
}

}  // namespace

// Row: [q | k | v], each head after head.
void rope_kv_write(const host::Op& op) {
  const nvlm_constants& c = op.c();
  for (int64_t r = 0; r < op.out_rows; ++r) {
    float* q = op.out + r * op.out_cols;
    float* k = q + int64_t{c.heads} * c.head_dim;
    const float* v = k + int64_t{c.kv_heads} * c.head_dim;
    const int32_t position = op.batch->position[r];
    for (int32_t h = 0; h < c.heads; ++h) rotate(q + h * c.head_dim, c.head_dim, position, c.rope_theta);
    for (int32_t h = 0; h < c.kv_heads; ++h) rotate(k + h * c.head_dim, c.head_dim, position, c.rope_theta);
    write(*op.self_kv, c, op.batch->kv_slot[r], k, v);
  }
}

void kv_write(const host::Op& op) {
  const nvlm_constants& c = op.c();
  for (int64_t r = 0; r < op.in_rows; ++r) {
    const float* k = op.in + r * op.in_cols;
    write(*op.cross_kv, c, op.batch->kv_slot[r], k, k + int64_t{c.kv_heads} * c.head_dim);
  }
}

}  // namespace nvlm::reference
