#include <cmath>

#include "reference/kernels.h"

namespace nvlm::reference {
namespace {

double dot(const host::Op& op, int64_t r, int64_t weight_row) {
  const float *x = op.in + r * op.in_cols, *w = row(*op.w, weight_row);
  double sum = 0;
  for (int64_t k = 0; k < op.in_cols; ++k) sum += static_cast<double>(x[k]) * w[k];
  return sum;
}

double affine(const host::Op& op, int64_t r, int64_t n) {
  return dot(op, r, n) + (op.bias ? op.bias->floats()[n] : 0.0f);
}

template <typename Value>
void each(const host::Op& op, Value value) {
  for (int64_t r = 0; r < op.out_rows; ++r) {
    for (int64_t n = 0; n < op.out_cols; ++n) {
      float& out = op.out[r * op.out_cols + n];
      out = static_cast<float>(value(r, n, out));
    }
  }
}

}  // namespace

void linear(const host::Op& op) {
  each(op, [&](int64_t r, int64_t n, float) { return affine(op, r, n); });
}

void linear_gelu(const host::Op& op) {
  each(op, [&](int64_t r, int64_t n, float) {
    const double x = affine(op, r, n);
    return 0.5 * x * (1 + std::erf(x * std::sqrt(0.5)));
  });
}

void linear_swiglu(const host::Op& op) {
  each(op, [&](int64_t r, int64_t n, float) {
    const double gate = dot(op, r, 2 * n), up = dot(op, r, 2 * n + 1);
    return gate / (1 + std::exp(-gate)) * up;
  });
}

void linear_residual(const host::Op& op) {
  const double gate = op.c().tanh_gate ? std::tanh(static_cast<double>(op.scale->floats()[0])) : 1;
  each(op, [&](int64_t r, int64_t n, float residual) {
    const double scale = op.c().tanh_gate ? gate : op.scale ? op.scale->floats()[n] : 1.0f;
    return residual + scale * affine(op, r, n);
  });
}

}  // namespace nvlm::reference
