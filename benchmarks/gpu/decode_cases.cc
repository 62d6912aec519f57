// What a step of one row launches beside plain products and attention: norm and product fused, norm + qkv + rope +
// cache write fused.
#include "op_cases.h"

namespace nvlm::times {
namespace {

// A norm over one row and the product behind it, whose matrices take turns; `out` is the fused launch's, `apart` that
// of the ops one by one.
struct NormedProduct {
  NormedProduct(const Machine& machine, nvlm_op product_op, int64_t n, int64_t depth, double rotated)
      : k(depth),
        width(product_op == NVLM_LINEAR_SWIGLU ? 2 * n : n),
        buffers(buffers_for(machine, rotated)),
        in(Pattern(5, 1).on_device(machine, k)),
        normal(machine, static_cast<uint64_t>(k) * 2),
        scale(machine, static_cast<uint64_t>(k) * 4),
        bias(machine, static_cast<uint64_t>(width) * 4),
        out(machine, static_cast<uint64_t>(n) * 2),
        apart(machine, static_cast<uint64_t>(n) * 2) {
    const Pattern values(2, static_cast<float>(3 / std::sqrt(static_cast<double>(k))));
    for (int i = 0; i < buffers; ++i) {
      matrix.push_back(values.on_device(machine, width * k));
      weights.push_back({NVLM_MATRIX, product_op == NVLM_LINEAR_SWIGLU, width, k, k, matrix.back()->as<void>()});
    }
    scale.fill_with(0x3f);  // each 0.747
    bias.fill_with(0x3e);   // each 0.186
    scale_weight = vector_of(scale);
    bias_weight = vector_of(bias);
    for (const Memory* memory : {&normal, &out, &apart}) memory->fill_with(0xff);
    norm_record.op = NVLM_RMS_NORM;
    norm_record.in = 0, norm_record.out = 1, norm_record.c.eps = 1e-6f;
    product_record.op = product_op;
    product_record.in = 1, product_record.out = 2;
    norm = op_of(machine, norm_record);
    reads(&norm, *in, 1, k);
    writes(&norm, normal, 1, k);
    norm.w = &scale_weight;
    product = op_of(machine, product_record);
    reads(&product, normal, 1, k);
    writes(&product, out, 1, n);
    product.w = &weights[0];
  }

  int64_t k, width;
  int buffers;
  std::unique_ptr<Memory> in;
  Memory normal, scale, bias, out, apart;
  std::vector<std::unique_ptr<Memory>> matrix;
  std::vector<DeviceWeight> weights;
  DeviceWeight scale_weight{}, bias_weight{};
  nvlm_record norm_record{}, product_record{};
  Op norm{}, product{};
};

// Both sum the same products, at most in another order, and round to bf16 once.
void compare(const std::vector<bf16>& fused, const std::vector<bf16>& apart, Difference* difference) {
  for (size_t i = 0; i < fused.size(); ++i) {
    const double value = to_float(apart[i]);
    difference->add(to_float(fused[i]), value, 2 * kHalfUlp * std::abs(value) + kSums, 0, static_cast<int64_t>(i));
  }
}

constexpr const char* kAgainst = "against the ops one by one: ";

}  // namespace

Line norm_product(const Machine& machine, const ProductShape& s) {
  const double bytes = 2.0 * static_cast<double>((s.op == NVLM_LINEAR_SWIGLU ? 2 : 1) * s.n * s.k + s.k + s.n);
  NormedProduct p(machine, s.op, s.n, s.k, bytes);
  const auto enqueue = [&](int i) {
    Op product = p.product;
    product.w = &p.weights[static_cast<size_t>(i)];
    expect(enqueue_norm_gemv(p.norm, product), s.name);
  };
  enqueue(0);
  Op apart = p.product;
  apart.out = p.apart.as<void>();
  expect(enqueue_rms_norm(p.norm), s.name);
  expect(enqueue_gemv(apart), s.name);
  Difference difference;
  compare(p.out.read<bf16>(0, static_cast<uint64_t>(s.n)), p.apart.read<bf16>(0, static_cast<uint64_t>(s.n)),
          &difference);
  difference.expect_none(kAgainst);
  return {s.name, kNoOp, "memory", timed(machine, p.buffers, enqueue), 2.0 * static_cast<double>(p.width * s.k), bytes};
}

Line norm_qkv_rope_write(const Machine& machine, const QkvShape& s) {
  const int64_t n = int64_t{s.heads + 2 * s.kv_heads} * s.head_dim,
                page_elements = int64_t{s.kv_heads} * NVLM_PAGE_KEYS * s.head_dim;
  const double bytes = 2.0 * static_cast<double>(n * s.hidden + s.hidden + 2 * n);
  NormedProduct p(machine, NVLM_LINEAR, n, s.hidden, bytes);
  p.product.bias = &p.bias_weight;
  constexpr int32_t kPages = 2, kPosition = 1000;
  const auto position = on_device<int32_t>(machine, {kPosition});
  const auto slot = on_device<int64_t>(machine, {NVLM_PAGE_KEYS + kPosition % NVLM_PAGE_KEYS});
  const uint64_t cache_elements = static_cast<uint64_t>(2 * kPages * page_elements);
  const Memory cache(machine, cache_elements * 2), cache_apart(machine, cache_elements * 2);
  cache.fill_with(0);
  cache_apart.fill_with(0);
  DeviceBatch batch{};
  batch.rows = 1;
  batch.position = position->as<int32_t>();
  batch.kv_slot = slot->as<int64_t>();
  nvlm_record record{};
  record.op = NVLM_ROPE_KV_WRITE;
  record.in = -1, record.out = 2;
  record.c.heads = s.heads, record.c.kv_heads = s.kv_heads, record.c.head_dim = s.head_dim, record.c.rope_theta = 1e6f;
  Op rope = p.product;
  rope.record = &record;
  rope.batch = &batch;
  rope.self_kv = {cache.as<bf16>(), 1, kPages, s.kv_heads, s.head_dim};
  const auto enqueue = [&](int i) {
    Op product = p.product;
    product.w = &p.weights[static_cast<size_t>(i)];
    expect(enqueue_norm_qkv_rope_write(p.norm, product, rope), s.name);
  };
  enqueue(0);
  Op product = p.product;
  product.out = rope.out = p.apart.as<void>();
  rope.self_kv.memory = cache_apart.as<bf16>();
  expect(enqueue_rms_norm(p.norm), s.name);
  expect(enqueue_gemv(product), s.name);
  expect(enqueue_rope_kv_write(rope), s.name);
  // Queries; keys and values are in the cache.
  Difference difference;
  const auto queries = static_cast<uint64_t>(s.heads * s.head_dim);
  compare(p.out.read<bf16>(0, queries), p.apart.read<bf16>(0, queries), &difference);
  compare(cache.read<bf16>(0, cache_elements), cache_apart.read<bf16>(0, cache_elements), &difference);
  difference.expect_none(kAgainst);
  rope.out = p.out.as<void>();
  rope.self_kv.memory = cache.as<bf16>();
  return {s.name, kNoOp, "memory", timed(machine, p.buffers, enqueue), 2.0 * static_cast<double>(n * s.hidden), bytes};
}

}  // namespace nvlm::times
