// gather_rows (ops/ops.h): out [outs, n] = in[batch.out_row[i]].
//
// grid: outs | block: 128 threads, 16 bytes each at a time | shared: none | bound by memory
#include "cuda/launchers.h"
#include "cuda/ptx/sm90.h"
#include "cuda/reduce.cuh"

namespace nvlm::gpu {
namespace {

constexpr uint32_t kThreads = 128;

struct GatherArgs {
  const bf16* in;          // [rows, cols]
  const int32_t* out_row;  // [outs]
  bf16* out;               // [outs, cols]
  int64_t cols;
};

__global__ void __launch_bounds__(kThreads) gather_rows_kernel(const __grid_constant__ GatherArgs a) {
  ptx::let_next_launch_begin();
  ptx::wait_for_earlier_launches();
  const bf16* from = a.in + a.out_row[blockIdx.x] * a.cols;
  bf16* to = a.out + static_cast<int64_t>(blockIdx.x) * a.cols;
  for (int64_t i = 8 * threadIdx.x; i < a.cols; i += 8 * kThreads) store_eight(to + i, load_eight(from + i));
}

}  // namespace

Status enqueue_gather_rows(const Op& op) {
  if (op.in_cols % 8) return Status::invalid;
  if (op.out_rows == 0) return Status::ok;
  const GatherArgs args{op.in, op.batch->out_row, op.out_bf16(), op.in_cols};
  return launch(gather_rows_kernel,
                {dim3(static_cast<uint32_t>(op.out_rows)), dim3(kThreads), 0, op.stream, kDependent}, args);
}

}  // namespace nvlm::gpu
