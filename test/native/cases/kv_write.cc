// rope_kv_write, kv_write. What could break: pairing of halves, odd numbers of pairs beside the vector, large
// positions, slots out of order, the layer's and head's place in the cache, v rotated by mistake, neighbouring keys
// overwritten.
//
// Tolerance: both backends take cosine and sine of the same float32 angle; two products and a sum are 3 roundings of at
// most |a| + |b| ≤ 2. Values move bit for bit.
#include "cases/cases.h"

namespace nvlm::test {

OpCase rope_kv_write_case(int64_t rows, int32_t heads, int32_t kv_heads, int32_t head_dim, int32_t last_position,
                          float theta) {
  OpCase c;
  c.name = "rope_kv_write " + std::to_string(rows) + " rows, " + std::to_string(heads) + "/" +
           std::to_string(kv_heads) + " heads of " + std::to_string(head_dim) + ", position up to " +
           std::to_string(last_position);
  Random random(c.name);
  const int64_t cols = static_cast<int64_t>(heads + 2 * kv_heads) * head_dim;
  c.batch.rows = rows;
  c.record.op = NVLM_ROPE_KV_WRITE;
  c.record.c.heads = heads;
  c.record.c.kv_heads = kv_heads;
  c.record.c.head_dim = head_dim;
  c.record.c.rope_theta = theta;
  c.record.c.layer = 1;
  c.record.out = c.add(Tensor{NVLM_ROWS, 1, cols, random.uniforms(rows * cols)});
  c.self_kv = {3, static_cast<int32_t>(rows / 64 + 2), kv_heads, head_dim, {}};
  // Slots backwards, every second one.
  const int64_t slots = int64_t{c.self_kv.pages} * NVLM_PAGE_KEYS;
  for (int64_t r = 0; r < rows; ++r) {
    c.batch.position.push_back(static_cast<int32_t>(r == rows - 1 ? last_position : random.below(last_position + 1)));
    c.batch.kv_slot.push_back(slots - 1 - (2 * r < slots ? 2 * r : 2 * r - slots + 1 - slots % 2));
  }
  // Q and k rotated in place, k and v written.
  c.bytes = 8.0 * static_cast<double>(rows * (heads + 2 * kv_heads) * head_dim);
  c.cache_limit = 6 * kUnit;
  c.bounds = [=](const std::vector<float>& truth) {
    Bounds b{std::vector<double>(truth.size(), 6 * kUnit), std::vector<double>(truth.size(), 1), 2 * kUnit};
    for (size_t i = 0; i < truth.size(); ++i) {
      if (static_cast<int64_t>(i) % cols >= static_cast<int64_t>(heads + kv_heads) * head_dim) b.limit[i] = 0;  // v
    }
    return b;
  };
  return c;
}

OpCase kv_write_case(int64_t rows, int32_t kv_heads, int32_t head_dim) {
  OpCase c;
  c.name = "kv_write " + std::to_string(rows) + " rows, " + std::to_string(kv_heads) + " heads of " +
           std::to_string(head_dim);
  Random random(c.name);
  const int64_t cols = int64_t{2} * kv_heads * head_dim;
  c.batch.rows = rows;
  c.record.op = NVLM_KV_WRITE;
  c.record.c.kv_heads = kv_heads;
  c.record.c.head_dim = head_dim;
  c.record.c.layer = 1;
  c.record.in = c.add(Tensor{NVLM_ROWS, 1, cols, random.uniforms(rows * cols)});
  c.cross_kv = {2, static_cast<int32_t>(rows / 64 + 1), kv_heads, head_dim, {}};
  for (int64_t r = 0; r < rows; ++r) c.batch.kv_slot.push_back(int64_t{c.cross_kv.pages} * NVLM_PAGE_KEYS - 1 - r);
  c.bytes = 8.0 * static_cast<double>(rows * cols);
  return c;
}

std::vector<OpCase> kv_write_cases() {
  std::vector<OpCase> cases;
  for (const int32_t head_dim : {8, 16, 24, 64, 128}) {
    cases.push_back(rope_kv_write_case(1, 1, 1, head_dim, 0, 1e4f));
    cases.push_back(rope_kv_write_case(67, 6, 2, head_dim, 32767, 1e6f));
    cases.push_back(kv_write_case(1, 1, head_dim));
    cases.push_back(kv_write_case(65, 3, head_dim));
  }
  return cases;
}

}  // namespace nvlm::test
