// linear, linear_gelu, linear_swiglu, linear_residual, logits. What could break: panel tails (n not a multiple of 16 or
// 8), row tails (1..5 behind blocks of 6), k tails of the unrolled loop, stored types, stacked and interleaved parts,
// unaligned or strided rows, bias, scale and gate.
//
// Tolerance. A sum of k products in any order, each product and sum rounded or fused, is off by at most (k + 3)·u·A
// with A = Σ|x·w| + |bias|; typically, errors being independent, by a few u·A whatever k, so the root mean square may
// be 4 u·A. Through GELU (slope ≤ 1.13) and
// SiLU (slope ≤ 1.1) that passes on, plus their own error.
#include <algorithm>
#include <iterator>

#include "cases/cases.h"
#include "ops/op_info.h"
#include "support/activations.h"

namespace nvlm::test {
namespace {

struct Affine {
  double value, size;
};

Affine affine(const OpCase& c, int64_t r, int64_t row_of_w) {
  const Tensor& in = c.tensors[static_cast<size_t>(c.record.in)];
  const float* x = in.data.data() + r * in.cols;
  const float* w = c.weights[static_cast<size_t>(c.record.w)].values.data() + row_of_w * in.cols;
  Affine a{0, 0};
  for (int64_t i = 0; i < in.cols; ++i) {
    a.value += static_cast<double>(x[i]) * w[i];
    a.size += std::abs(static_cast<double>(x[i]) * w[i]);
  }
  if (c.record.bias >= 0) {
    const double bias = c.weights[static_cast<size_t>(c.record.bias)].values[static_cast<size_t>(row_of_w)];
    a.value += bias;
    a.size += std::abs(bias);
  }
  return a;
}

Bounds linear_bounds(const OpCase& c, const std::vector<float>& truth) {
  const Tensor& out = c.tensors[static_cast<size_t>(c.record.out)];
  const double sum_error = (static_cast<double>(c.tensors[static_cast<size_t>(c.record.in)].cols) + 3) * kUnit;
  Bounds b;
  b.rms = 4 * kUnit;
  for (int64_t i = 0; i < static_cast<int64_t>(truth.size()); ++i) {
    const int64_t r = i / out.cols, n = i % out.cols;
    const double y = std::abs(truth[static_cast<size_t>(i)]);
    double limit, size;
    if (c.record.op == NVLM_LINEAR_SWIGLU) {
      const Affine gate = affine(c, r, 2 * n), up = affine(c, r, 2 * n + 1);
      limit = 1.1 * sum_error * gate.size * (std::abs(up.value) + sum_error * up.size) +
              std::abs(silu(gate.value)) * sum_error * up.size + (2e-7 + 4 * kUnit) * y;
      size = 1.1 * gate.size * std::abs(up.value) + std::abs(silu(gate.value)) * up.size + 4 * y;
    } else {
      const Affine a = affine(c, r, n);
      limit = sum_error * a.size;
      size = a.size;
      if (c.record.op == NVLM_LINEAR_GELU) {
        limit = 1.13 * limit + 1e-6;
        size += 4 * 1e-6 / kUnit / 4;
      } else if (c.record.op == NVLM_LINEAR_RESIDUAL) {
        double s = 1;
        if (c.record.scale >= 0)
          s = c.weights[static_cast<size_t>(c.record.scale)].values[c.record.c.tanh_gate ? 0 : static_cast<size_t>(n)];
        if (c.record.c.tanh_gate) s = std::tanh(s);
        const double residual = std::abs(out.data[static_cast<size_t>(i)]);
        limit = std::abs(s) * (limit + 3 * kUnit * a.size) + 2 * kUnit * (residual + y);
        size = std::abs(s) * a.size + residual;
      }
    }
    b.limit.push_back(limit);
    b.size.push_back(size);
  }
  return b;
}

// [n, n] of ones on the diagonal, zeros beside it; as many elements apart as wide.
std::vector<float> identity(int64_t n) {
  std::vector<float> values(static_cast<size_t>(n * n), 0.0f);
  for (int64_t i = 0; i < n; ++i) values[static_cast<size_t>(i * n + i)] = 1;
  return values;
}

// Every finite bit pattern of a half type times 1, `k` of them in a row of the weight, whose value is made from its
// parts here: any difference is a wrong conversion. Row r of the input picks column r.
OpCase every_half(nvlm_dtype dtype, int64_t k) {
  const int64_t n = 65536 / k;
  OpCase c;
  c.name = "linear " + std::to_string(k) + "x" + std::to_string(n) + "x" + std::to_string(k) + ", every " +
           dtype_name(dtype);
  Random random(c.name);
  Weight w = matrix_weight(random, NVLM_MATRIX, {n}, k, dtype);
  for (int i = 0; i < 65536; ++i) {
    const int bits = dtype == NVLM_BF16 ? 7 : 10, bias = dtype == NVLM_BF16 ? 127 : 15,
              mantissa = i & ((1 << bits) - 1), exponent = (i & 0x7fff) >> bits;
    const bool finite = exponent != 2 * bias + 1;
    const auto half = static_cast<uint16_t>(finite ? i : 0);
    std::memcpy(w.parts[0].bytes.data() + 1 + 2 * i, &half, 2);
    const float size = std::ldexp(static_cast<float>(exponent ? (1 << bits) + mantissa : mantissa),
                                  std::max(exponent, 1) - bias - bits);
    w.values[static_cast<size_t>(i)] = !finite ? 0 : i & 0x8000 ? -size : size;
  }
  c.batch.rows = k;
  c.record.op = NVLM_LINEAR;
  c.record.in = c.add(Tensor{NVLM_ROWS, 1, k, identity(k)});
  c.record.out = c.add(Tensor{NVLM_ROWS, 1, n, {}});
  const std::vector<float> values = w.values;
  c.record.w = c.add(std::move(w));
  c.bounds = [values, n, k](const std::vector<float>& truth) {
    Bounds b{std::vector<double>(truth.size(), 0), std::vector<double>(truth.size(), 1), 0};
    for (int64_t i = 0; i < n * k; ++i) {
      // The reference is wrong: nothing can pass.
      if (truth[static_cast<size_t>(i)] != values[static_cast<size_t>(i % n * k + i / n)])
        b.limit[static_cast<size_t>(i)] = -1;
    }
    return b;
  };
  return c;
}

}  // namespace

// variant: words among bias, scale, gate, parts, strided.
OpCase linear_case(nvlm_op op, int64_t rows, int64_t n, int64_t k, nvlm_dtype dtype, const std::string& variant) {
  const auto with = [&](const char* word) { return variant.find(word) != std::string::npos; };
  OpCase c;
  c.name = std::string(op_name(op)) + " " + std::to_string(rows) + "x" + std::to_string(n) + "x" + std::to_string(k) +
           " " + dtype_name(dtype) + (variant.empty() ? "" : " " + variant);
  Random random(c.name);
  const nvlm_extent extent = op == NVLM_LOGITS ? NVLM_OUTS : NVLM_ROWS;
  (op == NVLM_LOGITS ? c.batch.outs : c.batch.rows) = rows;
  c.record.op = op;
  c.record.in = c.add(Tensor{extent, 1, k, random.uniforms(rows * k)});
  const bool residual = op == NVLM_LINEAR_RESIDUAL;
  c.record.out = c.add(Tensor{extent, 1, n, residual ? random.uniforms(rows * n) : std::vector<float>()});
  std::vector<int64_t> parts{n};
  if (op == NVLM_LINEAR_SWIGLU) parts = {n, n};
  if (with("parts")) parts = {n - 2 * (n / 3), n / 3, n / 3};
  c.record.w =
      c.add(matrix_weight(random, NVLM_MATRIX, parts, k, dtype, op == NVLM_LINEAR_SWIGLU, with("strided") ? 5 : 0));
  if (with("bias")) c.record.bias = c.add(vector_weight(random.uniforms(n)));
  if (with("scale")) c.record.scale = c.add(vector_weight(random.uniforms(n)));
  if (with("gate")) {
    c.record.scale = c.add(vector_weight({0.7f}));
    c.record.c.tanh_gate = 1;
  }
  const double weights = static_cast<double>(op == NVLM_LINEAR_SWIGLU ? 2 * n : n);
  c.flops = 2.0 * static_cast<double>(rows) * weights * static_cast<double>(k);
  c.bytes = weights * static_cast<double>(k) * (dtype == NVLM_F32 ? 4 : 2);
  // The case is copied into its own bounds, since it may move.
  const OpCase operands = c;
  c.bounds = [operands](const std::vector<float>& truth) { return linear_bounds(operands, truth); };
  return c;
}

std::vector<OpCase> linear_cases() {
  std::vector<OpCase> cases;
  constexpr nvlm_dtype kTypes[] = {NVLM_F32, NVLM_BF16, NVLM_F16};
  struct Shape {
    int64_t rows, n, k;
  };
  // Rows 1..5 and 6 have loops of their own; 48 is a row block, 16 a panel, 64 a panel group.
  constexpr Shape kShapes[] = {{1, 1, 1},     {1, 64, 896}, {1, 151, 65}, {2, 17, 3},   {3, 15, 7},
                               {4, 33, 31},   {5, 16, 64},  {6, 48, 129}, {7, 8, 8},    {11, 31, 13},
                               {13, 65, 100}, {47, 80, 33}, {48, 64, 16}, {49, 81, 40}, {103, 20, 5}};
  // Multiples of 8, as a GPU has them: the least, every number of rows of its products of few rows, and its tiles (16
  // to 128 x 64 to 256, 64 deep) with one row or eight columns more or less.
  constexpr Shape kShapesOfEight[] = {{1, 8, 8},    {2, 24, 72},   {3, 40, 56},    {4, 72, 264}, {6, 56, 136},
                                      {15, 72, 64}, {17, 136, 72}, {33, 120, 200}, {65, 64, 56}, {129, 24, 8}};
  std::vector<Shape> shapes(std::begin(kShapes), std::end(kShapes));
  shapes.insert(shapes.end(), std::begin(kShapesOfEight), std::end(kShapesOfEight));
  for (const Shape& s : shapes) {
    for (const nvlm_dtype type : kTypes) {
      cases.push_back(linear_case(NVLM_LINEAR, s.rows, s.n, s.k, type, "bias"));
      cases.push_back(linear_case(NVLM_LINEAR_SWIGLU, s.rows, s.n, s.k, type));
      cases.push_back(linear_case(NVLM_LINEAR_RESIDUAL, s.rows, s.n, s.k, type, "bias scale"));
    }
    cases.push_back(linear_case(NVLM_LINEAR_GELU, s.rows, s.n, s.k, NVLM_BF16, "bias"));
    cases.push_back(linear_case(NVLM_LOGITS, s.rows, s.n, s.k, NVLM_BF16));
    cases.push_back(linear_case(NVLM_LINEAR, s.rows, s.n, s.k, NVLM_BF16));
    cases.push_back(linear_case(NVLM_LINEAR_RESIDUAL, s.rows, s.n, s.k, NVLM_BF16, "bias gate"));
    cases.push_back(linear_case(NVLM_LINEAR_RESIDUAL, s.rows, s.n, s.k, NVLM_F32));
  }
  cases.push_back(every_half(NVLM_BF16, 1));
  cases.push_back(every_half(NVLM_F16, 1));
  cases.push_back(every_half(NVLM_BF16, 8));
  for (const int64_t n : {37, 40}) {
    for (const nvlm_dtype type : kTypes) {
      cases.push_back(linear_case(NVLM_LINEAR, 9, n, 24, type, "bias parts"));
      cases.push_back(linear_case(NVLM_LINEAR, 9, n, 24, type, "bias parts strided"));
      cases.push_back(linear_case(NVLM_LINEAR_SWIGLU, 9, n, 24, type, "strided"));
    }
  }
  // A vocabulary is as long as it is.
  for (const int64_t rows : {1, 3, 6}) cases.push_back(linear_case(NVLM_LOGITS, rows, 151, 64, NVLM_BF16));
  // The longest sum and the widest output of any model here: Qwen2-72B's MLP and vocabulary.
  for (const int64_t rows : {1, 7}) {
    cases.push_back(linear_case(NVLM_LINEAR_RESIDUAL, rows, 16, kLargestMlp, NVLM_BF16));
    cases.push_back(linear_case(NVLM_LINEAR, rows, 8, kLargestMlp, NVLM_F16, "bias"));
  }
  cases.push_back(linear_case(NVLM_LINEAR_SWIGLU, 1, kLargestMlp, 8, NVLM_BF16));
  cases.push_back(linear_case(NVLM_LOGITS, 2, kLargestVocabulary, 8, NVLM_BF16));
  return cases;
}

namespace {

// GELU or SiLU alone, over their whole range, `width` points a row: the weight picks each, so that the error is the
// activation's.
OpCase activation_case(nvlm_op op, int64_t width) {
  constexpr int64_t kPoints = 8192;
  OpCase c;
  c.name = std::string(op == NVLM_LINEAR_GELU ? "gelu" : "silu") + " over [-12, 12] and far out, " +
           std::to_string(width) + " a row";
  std::vector<float> x;
  for (int64_t i = 0; i < kPoints - 6; ++i)
    x.push_back(-12.0f + 24.0f * static_cast<float>(i) / static_cast<float>(kPoints - 6));
  for (const float far : {-1e4f, -100.0f, -0.0f, 1e-30f, 100.0f, 1e4f}) x.push_back(far);
  c.batch.rows = kPoints / width;
  c.record.op = op;
  c.record.in = c.add(Tensor{NVLM_ROWS, 1, width, x});
  c.record.out = c.add(Tensor{NVLM_ROWS, 1, width, {}});
  Random random(c.name);
  const bool pairs = op == NVLM_LINEAR_SWIGLU;
  Weight w =
      matrix_weight(random, NVLM_MATRIX, pairs ? std::vector<int64_t>{width, width} : std::vector<int64_t>{width},
                    width, NVLM_F32, pairs);
  const std::vector<float> ones = identity(width);
  for (Weight::Part& part : w.parts) std::memcpy(part.bytes.data() + 1, ones.data(), ones.size() * sizeof(float));
  c.record.w = c.add(w);
  // GELU: 1e-6 absolute, and beyond 4 the rounding of a number that large. SiLU·x = x²·σ(x): the exponential's 2e-7 and
  // three roundings, relative.
  c.bounds = [op](const std::vector<float>& truth) {
    Bounds b;
    b.rms = 1;
    for (const float y : truth) {
      b.limit.push_back(op == NVLM_LINEAR_GELU ? std::max(1e-6, 4 * kUnit * std::abs(y))
                                               : (2e-7 + 5 * kUnit) * std::abs(y) + 1e-30);
      b.size.push_back(1e3);
    }
    return b;
  };
  return c;
}

}  // namespace

std::vector<OpCase> activation_cases() {
  std::vector<OpCase> cases;
  for (const nvlm_op op : {NVLM_LINEAR_GELU, NVLM_LINEAR_SWIGLU}) {
    for (const int64_t width : {1, 8}) cases.push_back(activation_case(op, width));
  }
  return cases;
}

}  // namespace nvlm::test
