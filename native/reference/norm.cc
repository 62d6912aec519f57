#include <cmath>

#include "reference/kernels.h"

namespace nvlm::reference {
namespace {

void rms(const float* in, float* out, const float* w, int64_t n, double width, double eps) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(in[i]) * in[i];
  const double scale = 1 / std::sqrt(sum / width + eps);
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(in[i] * scale * w[i]);
}

}  // namespace

void rms_norm(const host::Op& op) {
  const double width = op.c().true_width ? op.c().true_width : static_cast<double>(op.in_cols);
  for (int64_t r = 0; r < op.in_rows; ++r)
    rms(op.in + r * op.in_cols, op.out + r * op.in_cols, op.w->floats(), op.in_cols, width, op.c().eps);
}

void layer_norm(const host::Op& op) {
  const int64_t n = op.in_cols;
  for (int64_t r = 0; r < op.in_rows; ++r) {
    const float* in = op.in + r * n;
    float* out = op.out + r * n;
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < n; ++i) mean += in[i];
    mean /= static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i) variance += (in[i] - mean) * (in[i] - mean);
    const double scale = 1 / std::sqrt(variance / static_cast<double>(n) + op.c().eps);
    for (int64_t i = 0; i < n; ++i)
      out[i] = static_cast<float>((in[i] - mean) * scale * op.w->floats()[i] + op.bias->floats()[i]);
  }
}

void qk_norm(const host::Op& op) {
  const int64_t n = op.out_cols / 3;
  const double width = op.c().true_width ? op.c().true_width : static_cast<double>(n);
  for (int64_t r = 0; r < op.out_rows; ++r) {
    float* q = op.out + r * op.out_cols;
    rms(q, q, op.q_norm->floats(), n, width, op.c().eps);
    rms(q + n, q + n, op.k_norm->floats(), n, width, op.c().eps);
  }
}

}  // namespace nvlm::reference
