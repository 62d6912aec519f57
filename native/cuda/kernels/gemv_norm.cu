// rms_norm or layer_norm and the product behind it (ops/ops.h) in one launch, 1 to 4 rows: a decode step's gate and up,
// and the head.
//
// Every block normalises the rows for itself (they are small against its share of the weight) and rounds them to bf16
// as norm.cu does, bit for bit; the norm's own output is not written. How: gemv.cuh.
// grid, block, bound: as gemv.cu | shared: up to 67 KB (rows * k * 2 bytes and scratch)
#include "cuda/kernels/gemv_write.cuh"
#include "cuda/launchers.h"
#include "cuda/ptx/sm90.h"

namespace nvlm::gpu {
namespace {

template <int rows>
__global__ void __launch_bounds__(gemv::kThreads, gemv::Shape<rows>::blocks)
    norm_gemv_kernel(const __grid_constant__ gemv::Args<rows> a) {
  gemv::run<rows, true>(a.work, a.write);
}

template <int rows>
Status enqueue(const Op& norm, const Op& op) {
  const int64_t groups = gemv::groups_of<rows>(op);
  const gemv::LaunchShape p = gemv::launch_shape<rows>(*op.device, groups, op.in_cols / gemv::kChunk, true);
  const gemv::Args<rows> args{gemv::work_of(op, norm.in, groups, p, gemv::norm_of(norm)), gemv::write_of<rows>(op)};
  if (const Status s = allow_shared(norm_gemv_kernel<rows>, p.shared); s != Status::ok) return s;
  return launch(norm_gemv_kernel<rows>, Launch{dim3(p.grid), dim3(gemv::kThreads), p.shared, op.stream, kDependent},
                args);
}

}  // namespace

bool can_norm_gemv(const Op& norm, const Op& linear) {
  return gemv::can_fuse_norm(norm, linear) && gemv::is_writable(linear);
}

Status enqueue_norm_gemv(const Op& norm, const Op& linear) {
  if (!can_norm_gemv(norm, linear)) return Status::invalid;
  switch (linear.in_rows) {
    case 1: return enqueue<1>(norm, linear);
    case 2: return enqueue<2>(norm, linear);
    case 3: return enqueue<3>(norm, linear);
    default: return enqueue<4>(norm, linear);
  }
}

}  // namespace nvlm::gpu
