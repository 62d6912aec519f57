// The products and the patch embedding of native/cuda, in the emulator. What could break: tail rows, columns and depth;
// a ring that is longer than the depth; barriers of the ring and of its second life as the epilogue's tile; the order
// and the counters of split sums; out rows of patch_embed.
//
// Operands are rounded to bf16 first, and the expected values are computed from those in double. Tolerance of an
// element: half a unit in the last place of bf16 (2^-8 of the value's power of two; none for logits) + (depth + splits
// + 4) * 2^-24 * sum |a b| for the float32 sums, carried through the op's slope (GELU: below 1.13; SwiGLU: 1.1 |up| and
// |silu(gate)|; residual: |scale|), + 2^-21 of the op's terms for expf, tanhf and float32 sums, and the error of GELU.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "cuda/kernels/gemm.h"
#include "cuda/launchers.h"
#include "emulator/control.h"
#include "ops/op_info.h"
#include "support/activations.h"
#include "support/check.h"
#include "support/device_arrays.h"
#include "support/pixels.h"

using namespace nvlm;
using gpu::bf16;
using gpu::Status;

namespace {

using test::DeviceArray;

// The workspace of a launch. The counters must be zero again behind it.
struct Workspace {
  DeviceArray<float> floats;
  DeviceArray<uint32_t> counters;
  gpu::Workspace view;

  Workspace(const gpu::WorkspaceNeed& need, gpu::Stream stream)
      : floats(size_t(need.floats), stream),
        counters(std::vector<uint32_t>(size_t(need.counters), 0), stream),
        view{floats.get(), need.floats, counters.get(), need.counters} {}
  void check() const {
    const std::vector<uint32_t> values = counters.read();
    test::check(std::all_of(values.begin(), values.end(), [](uint32_t c) { return c == 0; }),
                "a counter of the workspace is left above zero");
    test::equal(emulator::counters().matrix_conflicts, uint64_t{0}, "bank conflicts of ldmatrix");
  }
};

gpu::DeviceInfo device() {
  gpu::DeviceInfo info{};
  test::expect_ok(gpu::device_info(0, &info), "device_info");
  return info;
}

std::vector<float> widened(const std::vector<bf16>& values) {
  std::vector<float> floats;
  for (const bf16 x : values) floats.push_back(gpu::to_float(x));
  return floats;
}

// Half a unit in the last place of bf16.
double half_place(double x) { return x > 0 ? std::exp2(std::floor(std::log2(x)) - 8) : 0; }

struct Expected {
  double value, tolerance;
};

// Every element finite and within its tolerance; prints the NMSE.
void compare(const std::vector<float>& got, const std::vector<Expected>& expected, int64_t columns,
             const std::string& what) {
  double error = 0, norm = 0, worst = 0;
  int64_t bad = 0;
  std::string first;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double d = double(got[i]) - expected[i].value;
    if (!std::isfinite(got[i]) || !(std::abs(d) <= expected[i].tolerance)) {
      if (bad++ == 0) {
        first = "[" + std::to_string(int64_t(i) / columns) + "][" + std::to_string(int64_t(i) % columns) +
                "]: expected " + std::to_string(expected[i].value) + " but got " + std::to_string(got[i]) +
                ", tolerance " + std::to_string(expected[i].tolerance);
      }
    }
    error += d * d;
    norm += expected[i].value * expected[i].value;
    worst = std::max(worst, std::abs(d) / expected[i].tolerance);
  }
  std::printf("%-58s NMSE %.1e, at most %.2f of the tolerance\n", what.c_str(), norm > 0 ? error / norm : 0, worst);
  test::check(bad == 0, what + ": " + std::to_string(bad) + " of " + std::to_string(expected.size()) +
                            " elements are wrong, first " + first);
}

// ---- Products ----

struct Case {
  nvlm_op op;
  int64_t rows, columns, depth;  // columns of `out`
  bool bias;
  enum Scale { none, columnwise, tanh_gate } scale = none;
};

struct Operands {
  std::vector<bf16> a, w, before;
  std::vector<float> bias, scale;
  int64_t weight_rows;

  Operands(const Case& c, uint64_t seed) {
    std::mt19937_64 random(seed);
    weight_rows = c.op == NVLM_LINEAR_SWIGLU ? 2 * c.columns : c.columns;
    a = test::random_bf16(random, size_t(c.rows * c.depth));
    w = test::random_bf16(random, size_t(weight_rows * c.depth), 1 / std::sqrt(float(c.depth)));
    before = test::random_bf16(random, size_t(c.rows * c.columns));
    bias = test::random_floats(random, size_t(weight_rows));
    scale = test::random_floats(random, c.scale == Case::tanh_gate ? 1 : size_t(c.columns));
  }
};

std::vector<Expected> expected_of(const Case& c, const Operands& o, int splits) {
  std::vector<Expected> all;
  const double unit = std::exp2(-24) * double(c.depth + splits + 4), tiny = std::exp2(-21);
  const auto sum = [&](int64_t r, int64_t n) {
    double s = c.bias ? o.bias[size_t(n)] : 0, m = std::abs(s);
    for (int64_t k = 0; k < c.depth; ++k) {
      const double product =
          double(gpu::to_float(o.a[size_t(r * c.depth + k)])) * gpu::to_float(o.w[size_t(n * c.depth + k)]);
      s += product;
      m += std::abs(product);
    }
    return Expected{s, m * unit};
  };
  for (int64_t r = 0; r < c.rows; ++r) {
    for (int64_t n = 0; n < c.columns; ++n) {
      double y = 0, slack = 0;
      if (c.op == NVLM_LINEAR_SWIGLU) {
        const Expected gate = sum(r, 2 * n), up = sum(r, 2 * n + 1);
        const double silu = test::silu(gate.value);
        y = silu * up.value;
        slack = 1.1 * std::abs(up.value) * gate.tolerance + std::abs(silu) * up.tolerance +
                gate.tolerance * up.tolerance + tiny * std::abs(y);
      } else {
        const Expected x = sum(r, n);
        y = x.value;
        slack = x.tolerance;
        if (c.op == NVLM_LINEAR_GELU) {
          y = test::gelu(x.value);
          slack = 1.13 * x.tolerance + tiny * std::abs(x.value) + test::gelu_error(x.value);
        }
        if (c.op == NVLM_LINEAR_RESIDUAL) {
          const double scale = c.scale == Case::none         ? 1
                               : c.scale == Case::columnwise ? double(o.scale[size_t(n)])
                                                             : std::tanh(double(o.scale[0]));
          const double before = gpu::to_float(o.before[size_t(r * c.columns + n)]);
          y = before + scale * x.value;
          slack = std::abs(scale) * x.tolerance + tiny * (std::abs(before) + std::abs(scale * x.value));
        }
      }
      const double half = c.op == NVLM_LOGITS ? 0 : half_place(std::abs(y) + slack);
      all.push_back({y, half + slack + 1e-30});
    }
  }
  return all;
}

// One product on the emulated device: with the kernel and splits given, or as enqueue_gemm chooses (kernel null).
std::vector<float> run_product(gpu::Stream stream, const Case& c, const Operands& o, const gpu::GemmKernel* kernel,
                               int splits) {
  const DeviceArray<bf16> a(o.a, stream), w_data(o.w, stream);
  const DeviceArray<float> bias_data(o.bias, stream), scale_data(o.scale, stream);
  const size_t count = size_t(c.rows * c.columns);
  const DeviceArray<bf16> out =
      c.op == NVLM_LINEAR_RESIDUAL ? DeviceArray<bf16>(o.before, stream) : DeviceArray<bf16>(count, stream);
  const DeviceArray<float> out_floats(c.op == NVLM_LOGITS ? count : 0, stream);
  const gpu::DeviceWeight w{NVLM_MATRIX, c.op == NVLM_LINEAR_SWIGLU, o.weight_rows, c.depth, c.depth, w_data.get()};
  const gpu::DeviceWeight bias{NVLM_VECTOR, false, 1, o.weight_rows, o.weight_rows, bias_data.get()};
  const gpu::DeviceWeight scale{NVLM_VECTOR,     false, 1, int64_t(o.scale.size()), int64_t(o.scale.size()),
                                scale_data.get()};
  nvlm_record record{};
  record.op = c.op;
  record.c.tanh_gate = c.scale == Case::tanh_gate;
  const gpu::DeviceInfo info = device();
  const int64_t tiles = kernel ? gpu::gemm_tiles(kernel->tile, c.rows, o.weight_rows) : 0;
  const Workspace workspace(kernel
                                ? gpu::WorkspaceNeed{tiles * splits * kernel->tile.m * kernel->tile.n, int32_t(tiles)}
                                : gpu::gemm_workspace(info, c.rows, o.weight_rows, c.depth),
                            stream);
  gpu::Op op{};
  op.record = &record;
  op.in = a.get();
  op.out = c.op == NVLM_LOGITS ? static_cast<void*>(out_floats.get()) : out.get();
  op.in_rows = op.out_rows = c.rows;
  op.in_cols = c.depth;
  op.out_cols = c.columns;
  op.w = &w;
  op.bias = c.bias ? &bias : nullptr;
  op.scale = c.scale == Case::none ? nullptr : &scale;
  op.workspace = &workspace.view;
  op.device = &info;
  op.stream = stream;
  test::expect_ok(kernel ? gpu::enqueue_gemm_as(op, {kernel, splits, 0}) : gpu::enqueue_gemm(op), "enqueue_gemm");
  const std::vector<float> values = c.op == NVLM_LOGITS ? out_floats.read() : widened(out.read());
  workspace.check();
  return values;
}

std::string words(const Case& c, const std::string& kernel, int splits) {
  return kernel + " " + op_name(c.op) + " " + std::to_string(c.rows) + "x" + std::to_string(c.columns) + "x" +
         std::to_string(c.depth) + (splits > 1 ? " /" + std::to_string(splits) : "");
}

emulator::Settings settings_of(uint64_t seed) {
  emulator::Settings s;
  s.seed = seed;
  s.completion = seed % 3 == 0   ? emulator::Completion::early
                 : seed % 3 == 1 ? emulator::Completion::late
                                 : emulator::Completion::random;
  return s;
}

void check_product(const Case& c, const gpu::GemmKernel* kernel, int splits, uint64_t seed) {
  const std::string what = words(c, kernel ? kernel->name + 10 : "chosen", splits);
  const Operands operands(c, seed);
  test::on_device(settings_of(seed), what, [&](gpu::Stream stream) {
    compare(run_product(stream, c, operands, kernel, splits), expected_of(c, operands, std::max(splits, 16)), c.columns,
            what);
  });
}

void kernels() {
  uint64_t seed = 0;
  for (const gpu::GemmKernel& kernel : gpu::gemm_kernels()) {
    const int m = kernel.tile.m, n = kernel.tile.n, k = kernel.tile.k;
    const Case ragged{NVLM_LINEAR, m + 1, n + 8, k * kernel.tile.stages + 8, true};
    check_product(ragged, &kernel, 1, ++seed);
    check_product({NVLM_LINEAR_GELU, 1, 8, 8, true}, &kernel, 1, ++seed);
    check_product({NVLM_LINEAR_GELU, m - 1, n - 8, 2 * k, false}, &kernel, 1, ++seed);
    check_product({NVLM_LINEAR_SWIGLU, m - 3, n / 2 - 8, k + 16, false}, &kernel, 2, ++seed);
    check_product({NVLM_LINEAR_RESIDUAL, m - 7, n, k + 8, true, Case::columnwise}, &kernel, 1, ++seed);
    check_product({NVLM_LINEAR_RESIDUAL, 9, n + 8, 5 * k, true, Case::tanh_gate}, &kernel, 3, ++seed);
    check_product({NVLM_LINEAR_RESIDUAL, 2, 13, 3 * k, false}, &kernel, 3, ++seed);
    check_product({NVLM_LOGITS, 5, n + 3, k - 8, false}, &kernel, 1, ++seed);
    check_product({NVLM_LOGITS, 3, 12, 3 * k + 8, true}, &kernel, 4, ++seed);
    check_product({NVLM_LINEAR, 4, 61, k, true}, &kernel, 1, ++seed);
    check_product({NVLM_LINEAR_SWIGLU, 6, 5, k, false}, &kernel, 1, ++seed);
  }
  // More row tiles than a panel has, and a last panel that is not full; split too.
  const gpu::GemmKernel& smallest = gpu::gemm_kernels().back();
  check_product({NVLM_LINEAR, 11 * smallest.tile.m + 3, 136, 72, true}, &smallest, 1, ++seed);
  check_product({NVLM_LOGITS, 9 * smallest.tile.m, 130, 264, true}, &smallest, 2, ++seed);
}

// Shapes of real layers, scaled down, with the kernel that the planner takes for the emulated device.
void chosen() {
  uint64_t seed = 100;
  for (const int64_t rows : {5, 16, 17, 33, 70}) {
    check_product({NVLM_LINEAR, rows, 144, 96, true}, nullptr, 1, ++seed);
    check_product({NVLM_LINEAR_SWIGLU, rows, 72, 112, false}, nullptr, 1, ++seed);
    check_product({NVLM_LINEAR_RESIDUAL, rows, 96, 304, false}, nullptr, 1, ++seed);
  }
  check_product({NVLM_LINEAR, 130, 272, 96, true}, nullptr, 1, ++seed);
  check_product({NVLM_LINEAR_RESIDUAL, 7, 64, 1000, false}, nullptr, 1, ++seed);
  check_product({NVLM_LOGITS, 2, 307, 96, false}, nullptr, 1, ++seed);
}

// Whatever block comes last, the parts are added in their order.
void deterministic() {
  // float32 out: rounding to bf16 would hide the last bits. Large tiles take long here: no more parts than it needs for
  // their order to show.
  const Case whole{NVLM_LOGITS, 20, 72, 640, true}, shorter{NVLM_LOGITS, 20, 72, 256, true};
  for (const gpu::GemmKernel& kernel : gpu::gemm_kernels()) {
    const bool large = kernel.tile.m * kernel.tile.n > 64 * 64;
    const Case& c = large ? shorter : whole;
    const Operands operands(c, 7);
    std::vector<float> first;
    for (uint64_t seed = 1; seed <= 3; ++seed) {
      test::on_device(settings_of(seed), kernel.name, [&](gpu::Stream stream) {
        const std::vector<float> got = run_product(stream, c, operands, &kernel, large ? 4 : 5);
        if (first.empty()) first = got;
        test::check(std::memcmp(first.data(), got.data(), got.size() * sizeof(float)) == 0,
                    std::string(kernel.name) + ": another schedule gives other bits");
      });
    }
  }
}

// A row that is not finite stays alone.
void not_finite() {
  const Case c{NVLM_LINEAR, 20, 72, 64, true};
  Operands operands(c, 11);
  operands.a[size_t(7 * c.depth + 3)] = bf16{0x7fc0};
  std::vector<float> got;
  test::on_device(settings_of(2), "a NaN in the input",
                  [&](gpu::Stream stream) { got = run_product(stream, c, operands, nullptr, 1); });
  for (int64_t i = 0; i < c.rows * c.columns; ++i) {
    if (std::isnan(got[size_t(i)]) != (i / c.columns == 7)) {
      test::check(false, "a NaN in row 7 of the input shows wrongly in row " + std::to_string(i / c.columns));
      return;
    }
  }
}

void refused() {
  emulator::configure(settings_of(1));
  const gpu::DeviceInfo info = device();
  const gpu::Workspace none{};
  nvlm_record record{};
  record.op = NVLM_LINEAR;
  gpu::DeviceWeight w{NVLM_MATRIX, false, 16, 24, 24, nullptr};
  gpu::Op op{};
  op.record = &record;
  op.in_rows = op.out_rows = 8;
  op.in_cols = 24;
  op.out_cols = 16;
  op.w = &w;
  op.workspace = &none;
  op.device = &info;
  const auto refuses = [&](const char* what) {
    test::check(gpu::enqueue_gemm(op) == Status::invalid, std::string("not refused: ") + what);
  };
  op.in_cols = 32;
  refuses("a depth that is not the weight's");
  op.in_cols = 24;
  op.out_cols = 24;
  refuses("columns that are not the weight's");
  op.out_cols = 16;
  op.out_rows = 7;
  refuses("rows that differ");
  op.out_rows = 8;
  w.cols = op.in_cols = 20;
  refuses("a depth that is no multiple of 8");
  w.cols = op.in_cols = 24;
  record.op = NVLM_LINEAR_SWIGLU;
  refuses("gate and up rows that are too few");
  record.op = NVLM_LINEAR_RESIDUAL;
  record.c.tanh_gate = 1;
  refuses("a gate that is missing");
  record.op = NVLM_LINEAR;
  record.c.tanh_gate = 0;
  op.in_rows = op.out_rows = 0;
  test::check(gpu::enqueue_gemm(op) == Status::ok, "no rows are no work");
  test::equal(emulator::counters().launches, uint64_t{0}, "launches");
}

// ---- Patch embedding ----

struct PatchCase {
  int64_t tiles;
  int32_t side, patch;
  int64_t n;
};

void check_patches(gpu::Stream stream, const PatchCase& c, bool room_for_splits, uint64_t seed) {
  std::mt19937_64 random(seed);
  const int64_t grid = c.side / c.patch, patches = grid * grid, k = int64_t{3} * c.patch * c.patch,
                pitch = (k + 7) / 8 * 8;
  std::vector<uint8_t> pixels(size_t(c.tiles * c.side * c.side * 3));
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = uint8_t(i < 768 ? i / 3 : random());
  std::vector<bf16> w(size_t(c.n * pitch), bf16{0});
  const std::vector<bf16> dense = test::random_bf16(random, size_t(c.n * k), 1 / std::sqrt(float(k)));
  for (int64_t i = 0; i < c.n * k; ++i) w[size_t(i / k * pitch + i % k)] = dense[size_t(i)];
  const std::vector<float> bias = test::random_floats(random, size_t(c.n)),
                           token = test::random_floats(random, size_t(c.n)),
                           positions = test::random_floats(random, size_t((patches + 1) * c.n));

  const DeviceArray<uint8_t> pixel_data(pixels, stream);
  const DeviceArray<bf16> w_data(w, stream), out(size_t(c.tiles * (patches + 1) * c.n), stream);
  const DeviceArray<float> bias_data(bias, stream), token_data(token, stream), position_data(positions, stream);
  const auto vector = [](const DeviceArray<float>& v) {
    return gpu::DeviceWeight{NVLM_VECTOR, false, 1, int64_t(v.count()), int64_t(v.count()), v.get()};
  };
  const gpu::DeviceWeight weight{NVLM_MATRIX, false, c.n, k, pitch, w_data.get()},
      biases = vector(bias_data), class_token = vector(token_data), position = vector(position_data);
  const gpu::DeviceInfo info = device();
  const int64_t floats = gpu::patch_embed_workspace(c.tiles, c.side, c.patch);
  const gpu::WorkspaceNeed splits =
      room_for_splits ? gpu::gemm_workspace(info, c.tiles * patches, c.n, pitch) : gpu::WorkspaceNeed{0, 0};
  const Workspace workspace({floats + splits.floats, splits.counters}, stream);
  nvlm_record record{};
  record.op = NVLM_PATCH_EMBED;
  record.c.side = c.side;
  record.c.patch = c.patch;
  gpu::DeviceBatch batch{};
  batch.tiles = c.tiles;
  batch.pixels = pixel_data.get();
  gpu::Op op{};
  op.record = &record;
  op.out = out.get();
  op.out_rows = c.tiles * (patches + 1);
  op.out_cols = c.n;
  op.w = &weight;
  op.bias = &biases;
  op.class_token = &class_token;
  op.positions = &position;
  op.batch = &batch;
  op.workspace = &workspace.view;
  op.device = &info;
  op.stream = stream;
  test::expect_ok(gpu::enqueue_patch_embed(op), "enqueue_patch_embed");
  const std::vector<float> got = widened(out.read()), workspace_floats = workspace.floats.read();
  std::vector<bf16> rows(size_t(c.tiles * patches * pitch));
  if (c.tiles > 0) std::memcpy(rows.data(), workspace_floats.data(), rows.size() * sizeof(bf16));
  workspace.check();

  // The rows of the product are the host's normalised pixels, rounded once: the same bits.
  int64_t wrong = 0;
  std::vector<Expected> expected;
  for (int64_t tile = 0; tile < c.tiles; ++tile) {
    for (int64_t row = 0; row <= patches; ++row) {
      const int64_t p = row - 1, top = p / grid * c.patch, left = p % grid * c.patch;
      std::vector<double> values;
      for (int64_t i = 0; row > 0 && i < k; ++i) {
        const int64_t channel = i / c.patch / c.patch, y = top + i / c.patch % c.patch, x = left + i % c.patch;
        const bf16 value = gpu::to_bf16(
            test::normalised(pixels[size_t(((tile * c.side + y) * c.side + x) * 3 + channel)], int(channel)));
        wrong += rows[size_t((tile * patches + p) * pitch + i)].bits != value.bits;
        values.push_back(gpu::to_float(value));
      }
      for (int64_t i = k; row > 0 && i < pitch; ++i) wrong += rows[size_t((tile * patches + p) * pitch + i)].bits != 0;
      for (int64_t n = 0; n < c.n; ++n) {
        double y = positions[size_t(row * c.n + n)] + (row == 0 ? double(token[size_t(n)]) : double(bias[size_t(n)])),
               m = 4;
        for (int64_t i = 0; row > 0 && i < k; ++i) {
          const double product = values[size_t(i)] * gpu::to_float(dense[size_t(n * k + i)]);
          y += product;
          m += std::abs(product);
        }
        const double slack = m * double(k + 20) * std::exp2(-24);
        expected.push_back({y, half_place(std::abs(y) + slack) + slack});
      }
    }
  }
  test::equal(wrong, int64_t{0}, "normalised pixels that differ from the host's");
  compare(got, expected, c.n,
          "patch_embed " + std::to_string(c.tiles) + " tiles " + std::to_string(c.side) + "/" +
              std::to_string(c.patch) + " to " + std::to_string(c.n));
}

void patch_embedding() {
  uint64_t seed = 200;
  const auto run = [&](const PatchCase& c, bool room_for_splits) {
    test::on_device(settings_of(++seed), "patch_embed",
                    [&](gpu::Stream stream) { check_patches(stream, c, room_for_splits, seed); });
  };
  run({2, 28, 14, 40}, false);
  run({1, 56, 14, 64}, true);
  run({3, 15, 5, 13}, false);
  run({2, 20, 4, 24}, true);
  run({1, 3, 1, 8}, false);
  run({0, 28, 14, 8}, false);
}

}  // namespace

int main() {
  std::printf("kernels %s memory hooks\n", emulator::instrumented() ? "with" : "without");
  test::run("every tile computes every op, with tails and splits", kernels);
  test::run("enqueue_gemm chooses a kernel that computes the op", chosen);
  test::run("split sums do not depend on the schedule", deterministic);
  test::run("what is not finite stays in its row", not_finite);
  test::run("shapes that do not fit are refused", refused);
  test::run("patches are embedded behind their tile's class row", patch_embedding);
  return test::summary();
}
