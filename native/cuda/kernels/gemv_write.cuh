// How the sums of a product of 1 to 4 rows become the op's output: bias, activation, residual. For gemv.cu and
// gemv_norm.cu.
#pragma once

#include "cuda/activation.cuh"
#include "cuda/kernels/gemv.cuh"
#include "ops/op_info.h"

namespace nvlm::gpu::gemv {

// Output of linear, linear_gelu, linear_swiglu, linear_residual and logits (see `run`).
template <int rows>
struct Write {
  static constexpr int kColumns = Shape<rows>::columns;
  nvlm_op op;
  bool tanh_gate;
  const float *bias, *scale;  // [n]; null: none
  void* out;                  // [rows, out_cols]
  int32_t out_cols, n;        // n: weight rows, twice out_cols for swiglu

  // A group may stick out behind the end: it takes the last row again.
  __device__ __forceinline__ int row(int group, int column) const {
    const int at = group * kColumns + column;
    return at < n ? at : n - 1;
  }

  __device__ __forceinline__ void finish(float value, int group, int lane) const {
    const int column = group * kColumns + lane % kColumns;
    const int64_t row_start = static_cast<int64_t>(lane / kColumns) * out_cols;
    const bool mine = lane < Shape<rows>::values && column < n;
    bf16* to = static_cast<bf16*>(out) + row_start;

    // Even columns are gates, the odd ones behind them their ups.
    if (op == NVLM_LINEAR_SWIGLU) {
      const float up = __shfl_xor_sync(kFullWarp, value, 1);
      if (mine && column % 2 == 0) to[column / 2] = to_bf16(silu(value) * up);
      return;
    }
    if (!mine) return;
    if (op == NVLM_LOGITS) {
      static_cast<float*>(out)[row_start + column] = value;
      return;
    }
    if (bias) value += bias[column];
    if (op == NVLM_LINEAR_GELU) value = gelu(value);
    if (op == NVLM_LINEAR_RESIDUAL) {
      const float factor = tanh_gate ? tanhf(scale[0]) : scale ? scale[column] : 1.0f;
      value = fmaf(factor, value, to_float(to[column]));
    }
    to[column] = to_bf16(value);
  }
};

template <int rows>
Write<rows> write_of(const Op& op) {
  return {op.record->op,
          op.c().tanh_gate != 0,
          op.bias ? op.bias->vector() : nullptr,
          op.scale ? op.scale->vector() : nullptr,
          op.out,
          static_cast<int32_t>(op.out_cols),
          static_cast<int32_t>(op.w->rows)};
}

inline bool is_writable(const Op& op) {
  const int64_t width = op.record->op == NVLM_LINEAR_SWIGLU ? 2 * op.out_cols : op.out_cols;
  return is_product(op.record->op) && fits(op) && op.w->rows == width && !(op.c().tanh_gate && !op.scale);
}

template <int rows>
struct Args {
  Work work;
  Write<rows> write;
};

template <int rows>
int64_t groups_of(const Op& op) {
  return (op.w->rows + Shape<rows>::columns - 1) / Shape<rows>::columns;
}

}  // namespace nvlm::gpu::gemv
