// The CUDA products of 1 to 4 rows and those fused with what stands before and behind them, in the emulator.
//
// What could break: the ends of k (a lane's last chunk, the ring's last turn, a stage's border), n that is no multiple
// of a group, a split of k that adds a slice twice or reads it early, the next group's weights mixed into this one's,
// gate and up swapped, a rotation's partner, another row's page.
#include <algorithm>
#include <cstdio>

#include "cuda/launchers.h"
#include "support/activations.h"
#include "support/launcher_fixture.h"

using namespace nvlm;
using namespace nvlm::test;
using gpu::bf16;

namespace {

// Sums: a lane adds its share of k one by one, then five warp steps and up to eight slices, each addition within 2^-24
// of what stands there, which is at most the sum of magnitudes; k additions bound them all.

struct Fixture : LauncherFixture {
  Fixture(gpu::Stream stream, nvlm_op what) : LauncherFixture(stream) { record.op = what; }
};

double dot(const bf16* x, const bf16* w, int64_t k, double* magnitude) {
  double sum = 0;
  *magnitude = 0;
  for (int64_t i = 0; i < k; ++i) {
    const double product = static_cast<double>(to_float(x[i])) * to_float(w[i]);
    sum += product, *magnitude += std::abs(product);
  }
  return sum;
}

struct Case {
  const char* name;
  nvlm_op op;
  int64_t rows, n, k;  // n: columns of the output
  bool bias;
  enum Scale { none, columns, tanh } scale;
};

// 4 multiprocessors are emulated: from 64 groups on k is not split. The ring turns once in 1024 (512 for 3 and 4 rows)
// elements of k without a split.
constexpr Case kCases[] = {
    {"o of a small model, k split", NVLM_LINEAR_RESIDUAL, 1, 56, 896, false, Case::none},
    {"qkv of a small model", NVLM_LINEAR, 1, 144, 896, true, Case::none},
    {"gate and up", NVLM_LINEAR_SWIGLU, 1, 152, 896, false, Case::none},
    {"down, three stages, k split", NVLM_LINEAR_RESIDUAL, 1, 17, 16392 + 512, false, Case::none},
    {"down, two stages, k split, 4 rows", NVLM_LINEAR_RESIDUAL, 4, 40, 4096 + 104, true, Case::columns},
    {"down, two stages, two turns", NVLM_LINEAR_RESIDUAL, 1, 391, 8192 + 72, false, Case::none},
    {"down, two stages, 4 rows", NVLM_LINEAR_RESIDUAL, 4, 257, 4096 + 8, false, Case::none},
    {"several turns of a full grid", NVLM_LINEAR, 2, 802, 264, true, Case::none},
    {"several turns of a full grid, 4 rows", NVLM_LINEAR, 4, 1026, 72, true, Case::none},
    {"the head", NVLM_LOGITS, 1, 701, 128, false, Case::none},
    {"the head, 3 rows", NVLM_LOGITS, 3, 333, 896, false, Case::none},
    {"gelu", NVLM_LINEAR_GELU, 2, 130, 512, true, Case::none},
    {"gelu, 3 rows", NVLM_LINEAR_GELU, 3, 130, 520, true, Case::none},
    {"gate and up, 2 rows, odd", NVLM_LINEAR_SWIGLU, 2, 131, 1032, false, Case::none},
    {"gate and up, 3 rows, odd", NVLM_LINEAR_SWIGLU, 3, 131, 504, false, Case::none},
    {"gate and up, 4 rows", NVLM_LINEAR_SWIGLU, 4, 8, 2048, false, Case::none},
    {"tanh gate", NVLM_LINEAR_RESIDUAL, 2, 33, 640, false, Case::tanh},
    {"column scale", NVLM_LINEAR_RESIDUAL, 1, 127, 1024, true, Case::columns},
    {"column scale, 3 rows", NVLM_LINEAR_RESIDUAL, 3, 129, 1016, true, Case::columns},
    {"one column, shortest k", NVLM_LINEAR, 1, 1, 8, false, Case::none},
    {"one column, 4 rows", NVLM_LINEAR, 4, 1, 8, true, Case::none},
    {"odd n, k of one warp step", NVLM_LINEAR, 4, 7, 256, false, Case::none},
    {"k one chunk behind a stage", NVLM_LINEAR, 3, 5, 4104, false, Case::none},
    {"k one chunk before a turn of the ring", NVLM_LINEAR, 1, 300, 1016, false, Case::none},
};

void product(gpu::Stream stream, std::mt19937_64& random, const Case& t) {
  const bool swiglu = t.op == NVLM_LINEAR_SWIGLU, logits = t.op == NVLM_LOGITS;
  const int64_t width = swiglu ? 2 * t.n : t.n;
  const std::vector<bf16> in = random_bf16(random, t.rows * t.k),
                          w = random_bf16(random, width * t.k, 1 / std::sqrt(static_cast<float>(t.k)));
  const std::vector<bf16> before = random_bf16(random, t.rows * t.n);
  const std::vector<float> bias = random_floats(random, width),
                           scale = random_floats(random, t.scale == Case::tanh ? 1 : t.n, 0.5f, 0.5f);
  const DeviceArray<bf16> d_in(in, stream), d_w(w, stream);
  const DeviceArray<float> d_bias(bias, stream), d_scale(scale, stream), d_logits(logits ? t.rows * t.n : 1, stream);
  const DeviceArray<bf16> d_out =
      t.op == NVLM_LINEAR_RESIDUAL ? DeviceArray<bf16>(before, stream) : DeviceArray<bf16>(t.rows * t.n, stream);
  const gpu::DeviceWeight weight{NVLM_MATRIX, swiglu, width, t.k, t.k, d_w.get()}, shift = vector_of(d_bias),
                                                                                   factor = vector_of(d_scale);
  Fixture f(stream, t.op);
  f.record.c.tanh_gate = t.scale == Case::tanh;
  f.op.in = d_in.get(), f.op.in_rows = f.op.out_rows = t.rows, f.op.in_cols = t.k, f.op.out_cols = t.n,
  f.op.w = &weight;
  f.op.out = logits ? static_cast<void*>(d_logits.get()) : d_out.get();
  if (t.bias) f.op.bias = &shift;
  if (t.scale != Case::none) f.op.scale = &factor;
  expect_ok(gpu::enqueue_gemv(f.op), t.name);

  std::vector<double> expected(t.rows * t.n), limit(t.rows * t.n);
  for (int64_t r = 0; r < t.rows; ++r) {
    for (int64_t n = 0; n < t.n; ++n) {
      double size = 0, &e = expected[r * t.n + n], &l = limit[r * t.n + n];
      if (swiglu) {
        double gate_size = 0, up_size = 0;
        const double gate = dot(&in[r * t.k], &w[2 * n * t.k], t.k, &gate_size),
                     up = dot(&in[r * t.k], &w[(2 * n + 1) * t.k], t.k, &up_size);
        e = silu(gate) * up;
        // |silu'| is below 1.1, and silu below its argument.
        l = std::abs(e) * (kRound + 8 * kFloat) +
            (1.1 * gate_size * std::abs(up) + up_size * std::abs(gate)) * t.k * kFloat + 1e-30;
        continue;
      }
      e = dot(&in[r * t.k], &w[n * t.k], t.k, &size);
      double float_error = size * t.k * kFloat;
      if (t.bias) e += bias[n], float_error += std::abs(e) * kFloat;
      if (t.op == NVLM_LINEAR_GELU) {
        float_error = 1.13 * float_error + std::abs(e) * 8 * kFloat + gelu_error(e);  // |gelu'| is below 1.13
        e = gelu(e);
      }
      if (t.op == NVLM_LINEAR_RESIDUAL) {
        const double s = t.scale == Case::tanh      ? std::tanh(static_cast<double>(scale[0]))
                         : t.scale == Case::columns ? scale[n]
                                                    : 1.0;
        e = to_float(before[r * t.n + n]) + s * e;
        float_error = std::abs(s) * float_error + (std::abs(e) + std::abs(to_float(before[r * t.n + n]))) * 4 * kFloat;
      }
      l = (logits ? 0 : std::abs(e) * kRound) + float_error + 1e-30;
    }
  }
  if (!logits) {
    within(d_out.read(), expected, limit, t.n, t.name);
    return;
  }
  const std::vector<float> got = d_logits.read();
  size_t bad = 0;
  for (size_t i = 0; i < got.size(); ++i) bad += !(std::abs(got[i] - expected[i]) <= limit[i]);
  test::equal(bad, size_t{0}, std::string(t.name) + ": logits that are off");
}

// ---- Fused: the same bits as the launches apart ----

struct Normed {
  DeviceArray<bf16> in, normal;
  DeviceArray<float> w, bias;
  gpu::DeviceWeight weight, shift;
  Fixture f;
  Normed(gpu::Stream stream, std::mt19937_64& random, bool layer, int64_t rows, int64_t k, int32_t true_width)
      : in(random_bf16(random, rows * k), stream),
        normal(rows * k, stream),
        w(random_floats(random, k, 1, 0.3f), stream),
        bias(random_floats(random, k), stream),
        weight(vector_of(w)),
        shift(vector_of(bias)),
        f(stream, layer ? NVLM_LAYER_NORM : NVLM_RMS_NORM) {
    f.record.in = 0, f.record.out = 1, f.record.c.eps = 1e-6f, f.record.c.true_width = true_width;
    f.op.in = in.get(), f.op.out = normal.get(), f.op.in_rows = f.op.out_rows = rows, f.op.in_cols = f.op.out_cols = k,
    f.op.w = &weight;
    if (layer) f.op.bias = &shift;
  }
  gpu::Status enqueue() {
    return f.record.op == NVLM_LAYER_NORM ? gpu::enqueue_layer_norm(f.op) : gpu::enqueue_rms_norm(f.op);
  }
};

void norm_product(gpu::Stream stream, std::mt19937_64& random, bool layer, nvlm_op what, int64_t rows, int64_t n,
                  int64_t k, int32_t true_width) {
  const std::string name =
      "norm and product, " + std::to_string(rows) + " rows, " + std::to_string(n) + " x " + std::to_string(k);
  Normed norm(stream, random, layer, rows, k, true_width);
  const int64_t width = what == NVLM_LINEAR_SWIGLU ? 2 * n : n;
  const DeviceArray<bf16> w(random_bf16(random, width * k, 0.05f), stream), apart(rows * n, stream),
      fused(rows * n, stream);
  const DeviceArray<float> bias(random_floats(random, width), stream);
  const gpu::DeviceWeight weight{NVLM_MATRIX, what == NVLM_LINEAR_SWIGLU, width, k, k, w.get()},
      shift = vector_of(bias);
  Fixture f(stream, what);
  f.record.in = 1, f.record.out = 2;
  f.op.in = norm.normal.get(), f.op.in_rows = f.op.out_rows = rows, f.op.in_cols = k, f.op.out_cols = n,
  f.op.w = &weight, f.op.out = fused.get();
  if (what != NVLM_LINEAR_SWIGLU) f.op.bias = &shift;
  if (!check(gpu::can_norm_gemv(norm.f.op, f.op), name + " can be one launch")) return;
  expect_ok(gpu::enqueue_norm_gemv(norm.f.op, f.op), name);  // while the norm's output is still poison

  expect_ok(norm.enqueue(), name);
  f.op.out = apart.get();
  expect_ok(gpu::enqueue_gemv(f.op), name);
  same_bits(fused.read(), apart.read(), n, name);
}

void refusals(gpu::Stream stream, std::mt19937_64& random) {
  Normed norm(stream, random, false, 2, 64, 0);
  const DeviceArray<bf16> w(random_bf16(random, 64 * 64), stream), out(5 * 64, stream);
  const gpu::DeviceWeight weight{NVLM_MATRIX, false, 64, 64, 64, w.get()};
  Fixture f(stream, NVLM_LINEAR);
  f.record.in = 1;
  f.op.in = norm.normal.get(), f.op.in_rows = f.op.out_rows = 2, f.op.in_cols = f.op.out_cols = 64, f.op.w = &weight,
  f.op.out = out.get();
  check(gpu::can_norm_gemv(norm.f.op, f.op), "one launch");
  f.op.out = norm.in.get();
  check(!gpu::can_norm_gemv(norm.f.op, f.op), "not when the product is written over the norm's input");
  f.op.out = norm.in.get() + 2 * 64 - 8;
  check(!gpu::can_norm_gemv(norm.f.op, f.op), "nor over its end");
  f.op.out = out.get(), f.record.in = 3;
  check(!gpu::can_norm_gemv(norm.f.op, f.op), "not when the product reads something else");
  f.record.in = 1, f.op.in_rows = f.op.out_rows = 5;
  check(!gpu::can_norm_gemv(norm.f.op, f.op), "not with 5 rows");
  test::equal(static_cast<int>(gpu::enqueue_gemv(f.op)), static_cast<int>(gpu::Status::invalid), "5 rows");
}

void norm_qkv(gpu::Stream stream, std::mt19937_64& random, bool layer, int64_t rows, int64_t k, int32_t heads,
              int32_t kv_heads, int32_t d, bool with_bias) {
  const std::string name =
      "norm, qkv, rope and write, " + std::to_string(rows) + " rows, heads of " + std::to_string(d);
  const int64_t n = int64_t{heads + 2 * kv_heads} * d, pages = 3, cache = 2 * 2 * pages * kv_heads * NVLM_PAGE_KEYS * d;
  Normed norm(stream, random, layer, rows, k, 0);
  const DeviceArray<bf16> w(random_bf16(random, n * k, 0.05f), stream), apart(rows * n, stream),
      fused(rows * n, stream);
  const DeviceArray<bf16> kv_apart(std::vector<bf16>(cache, bf16{0x7fff}), stream),
      kv_fused(std::vector<bf16>(cache, bf16{0x7fff}), stream);
  const DeviceArray<float> bias(random_floats(random, n), stream);
  std::vector<int32_t> position(rows);
  std::vector<int64_t> slot(rows);
  for (int64_t r = 0; r < rows; ++r) {
    position[r] = static_cast<int32_t>(random() % 40000);
    slot[r] = (r * 70 + static_cast<int64_t>(random() % 60)) % (pages * NVLM_PAGE_KEYS);
  }
  std::sort(slot.begin(), slot.end());
  for (int64_t r = 1; r < rows; ++r) slot[r] = std::max(slot[r], slot[r - 1] + 1);
  const DeviceArray<int32_t> d_position(position, stream);
  const DeviceArray<int64_t> d_slot(slot, stream);
  const gpu::DeviceWeight weight{NVLM_MATRIX, false, n, k, k, w.get()}, shift = vector_of(bias);
  Fixture qkv(stream, NVLM_LINEAR), rope(stream, NVLM_ROPE_KV_WRITE);
  qkv.record.in = 1, qkv.record.out = 2, rope.record.in = -1, rope.record.out = 2;
  qkv.op.in = norm.normal.get(), qkv.op.in_rows = qkv.op.out_rows = rows, qkv.op.in_cols = k, qkv.op.out_cols = n,
  qkv.op.w = &weight, qkv.op.out = fused.get();
  if (with_bias) qkv.op.bias = &shift;
  rope.batch.rows = rows, rope.batch.position = d_position.get(), rope.batch.kv_slot = d_slot.get();
  rope.record.c.heads = heads, rope.record.c.kv_heads = kv_heads, rope.record.c.head_dim = d, rope.record.c.layer = 1,
  rope.record.c.rope_theta = 1e6f;
  rope.op.out = fused.get(), rope.op.out_rows = rows, rope.op.out_cols = n,
  rope.op.self_kv = {kv_fused.get(), 2, static_cast<int32_t>(pages), kv_heads, d};
  if (d > 128) {
    check(!gpu::can_norm_qkv_rope_write(norm.f.op, qkv.op, rope.op), name + " can't be one launch");
    return;
  }
  if (!check(gpu::can_norm_qkv_rope_write(norm.f.op, qkv.op, rope.op), name + " can be one launch")) return;
  expect_ok(gpu::enqueue_norm_qkv_rope_write(norm.f.op, qkv.op, rope.op), name);

  expect_ok(norm.enqueue(), name);
  qkv.op.out = rope.op.out = apart.get(), rope.op.self_kv.memory = kv_apart.get();
  expect_ok(gpu::enqueue_gemv(qkv.op), name);
  expect_ok(gpu::enqueue_rope_kv_write(rope.op), name);
  same_bits(fused.read(), apart.read(), n, name);
  same_bits(kv_fused.read(), kv_apart.read(), d, name + ": pages");
}

}  // namespace

int main() {
  using emulator::Completion;
  uint64_t seed = 0;
  for (const Completion completion : {Completion::random, Completion::early, Completion::late}) {
    emulator::Settings settings;
    settings.seed = ++seed, settings.completion = completion;
    std::mt19937_64 random(seed);
    run("products of few rows", [&] {
      for (const Case& t : kCases) on_device(settings, t.name, [&](gpu::Stream stream) { product(stream, random, t); });
    });
    run("a norm and the product behind it", [&] {
      on_device(settings, "norm and product", [&](gpu::Stream stream) {
        norm_product(stream, random, false, NVLM_LINEAR_SWIGLU, 1, 150, 896, 0);
        // Two pieces a thread of the norm; k split.
        norm_product(stream, random, false, NVLM_LINEAR_SWIGLU, 4, 9, 4104, 0);
        norm_product(stream, random, true, NVLM_LINEAR, 2, 131, 520, 0);
        norm_product(stream, random, false, NVLM_LINEAR, 3, 64, 96, 90);
        norm_product(stream, random, true, NVLM_LINEAR_GELU, 3, 17, 8, 0);
        refusals(stream, random);
      });
    });
    run("norm, qkv, rope and write", [&] {
      on_device(settings, "norm, qkv, rope and write", [&](gpu::Stream stream) {
        norm_qkv(stream, random, false, 1, 896, 2, 1, 64, true);
        norm_qkv(stream, random, false, 4, 128, 3, 3, 24, false);
        norm_qkv(stream, random, true, 3, 64, 4, 2, 128, true);
        norm_qkv(stream, random, false, 2, 72, 7, 1, 8, true);
        norm_qkv(stream, random, false, 1, 64, 1, 1, 136, true);  // heads too large
      });
    });
  }
  return summary();
}
