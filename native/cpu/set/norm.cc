// rms_norm, layer_norm, qk_norm. Rows are independent; threads take blocks of them. Columns need not be a multiple of
// the vector: the tail is scalar.
#include <cmath>

#include "cpu/set/kernels.h"

namespace nvlm::cpu::NVLM_CPU_SET {
namespace {

template <typename VecTerm, typename Term>
float sum_over(int64_t n, VecTerm vec_term, Term term) {
  Vec total = set(0.0f);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) total = add(total, vec_term(i));
  float tail = 0;
  for (; i < n; ++i) tail += term(i);
  return sum(total) + tail;
}

// in·scale·w
void rms_row(const float* in, float* out, const float* w, int64_t n, float width, float eps) {
  const float squares = sum_over(
      n, [&](int64_t i) { return mul(load(in + i), load(in + i)); }, [&](int64_t i) { return in[i] * in[i]; });
  const float scale = 1.0f / std::sqrt(squares / width + eps);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, mul(mul(load(in + i), set(scale)), load(w + i)));
  for (; i < n; ++i) out[i] = in[i] * scale * w[i];
}

float true_width(const host::Op& op, int64_t n) {
  return static_cast<float>(op.c().true_width ? op.c().true_width : n);
}

}  // namespace

void layer_norm_row(const float* in, float* out, const float* w, const float* bias, int64_t n, float eps) {
  const float mean = sum_over(
                         n, [&](int64_t i) { return load(in + i); }, [&](int64_t i) { return in[i]; }) /
                     static_cast<float>(n);
  const auto centred = [&](int64_t i) { return sub(load(in + i), set(mean)); };
  const float squares = sum_over(
      n, [&](int64_t i) { return mul(centred(i), centred(i)); },
      [&](int64_t i) { return (in[i] - mean) * (in[i] - mean); });
  const float scale = 1.0f / std::sqrt(squares / static_cast<float>(n) + eps);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, fma(mul(centred(i), set(scale)), load(w + i), load(bias + i)));
  for (; i < n; ++i) out[i] = (in[i] - mean) * scale * w[i] + bias[i];
}

void rms_norm(const host::Op& op) {
  const int64_t n = op.in_cols;
  parallel_rows(op.threads, op.in_rows, row_grain(n), [&](int64_t first, int64_t end) {
    for (int64_t r = first; r < end; ++r)
      rms_row(op.in + r * n, op.out + r * n, op.w->floats(), n, true_width(op, n), op.c().eps);
  });
}

void layer_norm(const host::Op& op) {
  const int64_t n = op.in_cols;
  parallel_rows(op.threads, op.in_rows, row_grain(n), [&](int64_t first, int64_t end) {
    for (int64_t r = first; r < end; ++r)
      layer_norm_row(op.in + r * n, op.out + r * n, op.w->floats(), op.bias->floats(), n, op.c().eps);
  });
}

void qk_norm(const host::Op& op) {
  const int64_t n = op.out_cols / 3;
  parallel_rows(op.threads, op.out_rows, row_grain(2 * n), [&](int64_t first, int64_t end) {
    for (int64_t r = first; r < end; ++r) {
      float* q = op.out + r * op.out_cols;
      rms_row(q, q, op.q_norm->floats(), n, true_width(op, n), op.c().eps);
      rms_row(q + n, q + n, op.k_norm->floats(), n, true_width(op, n), op.c().eps);
    }
  });
}

}  // namespace nvlm::cpu::NVLM_CPU_SET
