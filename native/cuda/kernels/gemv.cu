// linear, linear_gelu, linear_swiglu, linear_residual and logits (ops/ops.h) of 1 to 4 rows: out [rows, n] = in [rows,
// k] · w [n, k]ᵀ and what follows.
//
// How: gemv.cuh. k: a multiple of 8; n: any.
// grid: resident blocks, each with the same number of turns | block: 256 threads | shared: up to 33 KB | registers: at
// most 80 (1 and 2 rows), 128 (3, 4) | bound by memory: the weight is read once
#include "cuda/kernels/gemv_write.cuh"
#include "cuda/launchers.h"
#include "cuda/ptx/sm90.h"

namespace nvlm::gpu {
namespace {

template <int rows>
__global__ void __launch_bounds__(gemv::kThreads, gemv::Shape<rows>::blocks)
    gemv_kernel(const __grid_constant__ gemv::Args<rows> a) {
  gemv::run<rows, false>(a.work, a.write);
}

template <int rows>
Status enqueue(const Op& op) {
  const int64_t groups = gemv::groups_of<rows>(op);
  const gemv::LaunchShape p = gemv::launch_shape<rows>(*op.device, groups, op.in_cols / gemv::kChunk, false);
  const gemv::Args<rows> args{gemv::work_of(op, op.in, groups, p, {}), gemv::write_of<rows>(op)};
  return launch(gemv_kernel<rows>, Launch{dim3(p.grid), dim3(gemv::kThreads), p.shared, op.stream, kDependent}, args);
}

}  // namespace

Status enqueue_gemv(const Op& op) {
  if (op.in_rows == 0) return Status::ok;
  if (!gemv::is_writable(op)) return Status::invalid;
  switch (op.in_rows) {
    case 1: return enqueue<1>(op);
    case 2: return enqueue<2>(op);
    case 3: return enqueue<3>(op);
    default: return enqueue<4>(op);
  }
}

}  // namespace nvlm::gpu
