// rms_norm, layer_norm, qk_norm. What could break: column tails, true_width (dummy heads), eps inside the root, the v
// columns of qk_norm, means far from zero.
//
// Tolerance. The sum of n squares is off by at most (n + 2)·u relative, halved by the root, and three or four roundings
// follow: (n/2 + 8)·u·|y|, typically (4 + √n/2)·u. For the layer norm y = (x − mean)·s·w + b the mean is off by
// n·u·mean|x|, so the size of an element is (|x − mean| + mean|x|)·s·|w| + |b|.
#include "cases/cases.h"

namespace nvlm::test {

OpCase rms_norm_case(int64_t rows, int64_t n, int32_t true_width) {
  OpCase c;
  c.name = "rms_norm " + std::to_string(rows) + "x" + std::to_string(n) +
           (true_width ? " true width " + std::to_string(true_width) : "");
  Random random(c.name);
  c.batch.rows = rows;
  c.record.op = NVLM_RMS_NORM;
  c.record.c.eps = 1e-6f;
  c.record.c.true_width = true_width;
  c.record.in = c.add(Tensor{NVLM_ROWS, 1, n, random.uniforms(rows * n)});
  c.record.out = c.add(Tensor{NVLM_ROWS, 1, n, {}});
  c.record.w = c.add(vector_weight(random.uniforms(n, 0.5f, 2)));
  c.bytes = 8.0 * static_cast<double>(rows * n);
  c.bounds = [n](const std::vector<float>& truth) {
    Bounds b;
    b.rms = (4 + std::sqrt(static_cast<double>(n)) / 2) * kUnit;
    for (const float y : truth) {
      b.limit.push_back((static_cast<double>(n) / 2 + 8) * kUnit * std::abs(y));
      b.size.push_back(std::abs(y));
    }
    return b;
  };
  return c;
}

OpCase layer_norm_case(int64_t rows, int64_t n, float low, float high, float eps) {
  OpCase c;
  c.name = "layer_norm " + std::to_string(rows) + "x" + std::to_string(n) + " of [" + std::to_string(low) + ", " +
           std::to_string(high) + "]";
  Random random(c.name);
  c.batch.rows = rows;
  c.record.op = NVLM_LAYER_NORM;
  c.record.c.eps = eps;
  const std::vector<float> x = random.uniforms(rows * n, low, high), w = random.uniforms(n, -2, 2),
                           bias = random.uniforms(n);
  c.record.in = c.add(Tensor{NVLM_ROWS, 1, n, x});
  c.record.out = c.add(Tensor{NVLM_ROWS, 1, n, {}});
  c.record.w = c.add(vector_weight(w));
  c.record.bias = c.add(vector_weight(bias));
  c.bytes = 8.0 * static_cast<double>(rows * n);
  c.bounds = [=](const std::vector<float>& truth) {
    Bounds b;
    b.rms = (4 + std::sqrt(static_cast<double>(n)) / 2) * kUnit;
    for (size_t i = 0; i < truth.size(); ++i) {
      const float* row = x.data() + static_cast<int64_t>(i) / n * n;
      double mean = 0, size = 0, variance = 0;
      for (int64_t j = 0; j < n; ++j)
        mean += row[j] / static_cast<double>(n), size += std::abs(row[j]) / static_cast<double>(n);
      for (int64_t j = 0; j < n; ++j) variance += (row[j] - mean) * (row[j] - mean) / static_cast<double>(n);
      const size_t column = i % static_cast<size_t>(n);
      const double scale = 1 / std::sqrt(variance + eps);
      const double element = (std::abs(x[i] - mean) + size) * scale * std::abs(w[column]) + std::abs(bias[column]);
      // The mean's error also enters the variance, to second order: n·(u·size)² beside variance.
      const double second = static_cast<double>(n * n) * kUnit * kUnit * size * size * scale * scale;
      b.limit.push_back(((static_cast<double>(n) + 8) * kUnit + second) * element);
      b.size.push_back(element);
    }
    return b;
  };
  return c;
}

OpCase qk_norm_case(int64_t rows, int64_t n, int32_t true_width) {
  OpCase c;
  c.name = "qk_norm " + std::to_string(rows) + "x3x" + std::to_string(n) +
           (true_width ? " true width " + std::to_string(true_width) : "");
  Random random(c.name);
  c.batch.tiles = rows;
  c.record.op = NVLM_QK_NORM;
  c.record.c.eps = 1e-6f;
  c.record.c.true_width = true_width;
  c.record.out = c.add(Tensor{NVLM_TILES, 1, 3 * n, random.uniforms(rows * 3 * n)});
  c.record.q_norm = c.add(vector_weight(random.uniforms(n, 0.5f, 2)));
  c.record.k_norm = c.add(vector_weight(random.uniforms(n, 0.5f, 2)));
  c.bytes = 16.0 * static_cast<double>(rows * n);
  c.bounds = [n](const std::vector<float>& truth) {
    Bounds b;
    b.rms = (4 + std::sqrt(static_cast<double>(n)) / 2) * kUnit;
    for (size_t i = 0; i < truth.size(); ++i) {
      const bool value = static_cast<int64_t>(i) % (3 * n) >= 2 * n;  // untouched
      b.limit.push_back(value ? 0 : (static_cast<double>(n) / 2 + 8) * kUnit * std::abs(truth[i]));
      b.size.push_back(std::abs(truth[i]));
    }
    return b;
  };
  return c;
}

std::vector<OpCase> norm_cases() {
  std::vector<OpCase> cases;
  for (const int64_t n : {1, 7, 8, 9, 64, 100, 104, 264, 896, 3200}) {
    for (const int64_t rows : {1, 3, 37}) {
      cases.push_back(rms_norm_case(rows, n, 0));
      cases.push_back(qk_norm_case(rows, n, 0));
      cases.push_back(layer_norm_case(rows, n, -1, 1, 1e-5f));
    }
  }
  cases.push_back(rms_norm_case(5, 96, 80));
  cases.push_back(qk_norm_case(5, 96, 80));
  for (const int64_t n : {100, 104}) cases.push_back(layer_norm_case(5, n, 9, 11, 1e-6f));
  // No variance at all: eps alone stands under the root.
  for (const int64_t n : {33, 40}) cases.push_back(layer_norm_case(2, n, 0, 0, 1e-6f));
  return cases;
}

}  // namespace nvlm::test
