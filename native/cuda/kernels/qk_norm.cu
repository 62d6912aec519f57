// qk_norm (ops/ops.h): in place on out [rows, 3 * width], columns [q | k | v]; q by q_norm, k by k_norm, each over all
// heads together; v stays.
//
// grid: rows x 2 (q, k) | block: 32 to 1024 threads, 8 to 64 columns each (norm_row.cuh) | shared: 256 bytes | bound by
// memory
#include "cuda/kernels/norm_row.cuh"
#include "cuda/launchers.h"
#include "cuda/ptx/sm90.h"

namespace nvlm::gpu {
namespace {

struct QkNormArgs {
  bf16* qkv;
  const float *q_weight, *k_weight;
  int64_t width;
  float divisor, eps;
};

// A block has read its whole part, into registers, before it writes.
template <int chunks>
__global__ void __launch_bounds__(chunks == 8 ? 1024 : 512) qk_norm_kernel(const __grid_constant__ QkNormArgs a) {
  ptx::let_next_launch_begin();
  ptx::wait_for_earlier_launches();
  SharedMemory shared;
  float* scratch = shared.take<float>(kNormScratch);
  bf16* part = a.qkv + (static_cast<int64_t>(blockIdx.x) * 3 + blockIdx.y) * a.width;
  const float* weight = blockIdx.y == 0 ? a.q_weight : a.k_weight;
  rms_norm_row<chunks>(part, static_cast<int32_t>(a.width / 8), DenseRow{part}, weight, a.divisor, a.eps, scratch);
}

template <int chunks>
struct QkNorm {
  static auto get() { return qk_norm_kernel<chunks>; }
};

}  // namespace

Status enqueue_qk_norm(const Op& op) {
  if (op.out_cols % 3) return Status::invalid;
  const int64_t width = op.out_cols / 3;
  const float divisor = static_cast<float>(op.c().true_width ? op.c().true_width : width);
  const QkNormArgs args{op.out_bf16(), op.q_norm->vector(), op.k_norm->vector(), width, divisor, op.c().eps};
  return launch_norm<QkNorm>(width, dim3(static_cast<uint32_t>(op.out_rows), 2), op.stream, args);
}

}  // namespace nvlm::gpu
