// rms_norm and layer_norm (ops/ops.h): in, out [rows, cols], w and bias [cols].
//
// grid: rows | block: 32 to 1024 threads, 8 to 64 columns each (norm_row.cuh) | shared: 256 bytes | registers: 30 to 62
// | bound by memory: each row is read once and written once
#include "cuda/kernels/norm_row.cuh"
#include "cuda/launchers.h"
#include "cuda/ptx/sm90.h"

namespace nvlm::gpu {
namespace {

struct NormArgs {
  const bf16* in;
  bf16* out;
  const float *w, *bias;
  int64_t cols;
  float divisor, eps;
};

template <int chunks>
__global__ void __launch_bounds__(chunks == 8 ? 1024 : 512) rms_norm_kernel(const __grid_constant__ NormArgs a) {
  ptx::let_next_launch_begin();
  ptx::wait_for_earlier_launches();
  SharedMemory shared;
  float* scratch = shared.take<float>(kNormScratch);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * a.cols;
  rms_norm_row<chunks>(a.out + first, static_cast<int32_t>(a.cols / 8), DenseRow{a.in + first}, a.w, a.divisor, a.eps,
                       scratch);
}

template <int chunks>
__global__ void __launch_bounds__(chunks == 8 ? 1024 : 512) layer_norm_kernel(const __grid_constant__ NormArgs a) {
  ptx::let_next_launch_begin();
  ptx::wait_for_earlier_launches();
  SharedMemory shared;
  float* scratch = shared.take<float>(kNormScratch);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * a.cols;
  layer_norm_row<chunks>(a.out + first, static_cast<int32_t>(a.cols / 8), DenseRow{a.in + first}, a.w, a.bias, a.eps,
                         scratch);
}

template <int chunks>
struct RmsNorm {
  static auto get() { return rms_norm_kernel<chunks>; }
};
template <int chunks>
struct LayerNorm {
  static auto get() { return layer_norm_kernel<chunks>; }
};

NormArgs norm_args(const Op& op) {
  const float divisor = static_cast<float>(op.c().true_width ? op.c().true_width : op.in_cols);
  return {op.in, op.out_bf16(), op.w->vector(), op.bias ? op.bias->vector() : nullptr, op.in_cols, divisor, op.c().eps};
}

}  // namespace

Status enqueue_rms_norm(const Op& op) {
  return launch_norm<RmsNorm>(op.in_cols, dim3(static_cast<uint32_t>(op.in_rows)), op.stream, norm_args(op));
}

Status enqueue_layer_norm(const Op& op) {
  return launch_norm<LayerNorm>(op.in_cols, dim3(static_cast<uint32_t>(op.in_rows)), op.stream, norm_args(op));
}

}  // namespace nvlm::gpu
