// pixel_shuffle_norm (ops/ops.h): in [tiles * (1 + grid * grid), n] -> out [tiles * side * side, ratio * ratio * n],
// side = grid / ratio; then layer norm.
//
// An out row is ratio * ratio patches of n columns, laid end to end; the class row of each tile is passed over.
// grid: out rows | block: 32 to 1024 threads, 8 to 64 columns each (norm_row.cuh) | shared: 256 bytes | bound by memory
#include "cuda/kernels/norm_row.cuh"
#include "cuda/launchers.h"
#include "cuda/ptx/sm90.h"

namespace nvlm::gpu {
namespace {

struct ShuffleArgs {
  const bf16* in;
  bf16* out;
  const float *w, *bias;
  int32_t n, grid, ratio, transpose;
  float eps;
};

// A piece of eight columns lies in one patch, since n is a multiple of 8.
struct BlockAt {
  const bf16* corner;  // upper left patch of the block
  int32_t n, grid, ratio;
  __device__ const bf16* operator()(int32_t chunk) const {
    const int32_t patch = 8 * chunk / n, column = 8 * chunk % n;
    return corner + (static_cast<int64_t>(patch / ratio) * grid + patch % ratio) * n + column;
  }
};

template <int chunks>
__global__ void __launch_bounds__(chunks == 8 ? 1024 : 512)
    pixel_shuffle_norm_kernel(const __grid_constant__ ShuffleArgs a) {
  ptx::let_next_launch_begin();
  ptx::wait_for_earlier_launches();
  SharedMemory shared;
  float* scratch = shared.take<float>(kNormScratch);
  const int32_t side = a.grid / a.ratio, tokens = side * side;
  const int32_t tile = static_cast<int32_t>(blockIdx.x) / tokens, token = static_cast<int32_t>(blockIdx.x) % tokens;
  const int32_t row = a.transpose ? token % side : token / side, column = a.transpose ? token / side : token % side;
  const int64_t patch =
      static_cast<int64_t>(tile) * (a.grid * a.grid + 1) + 1 + (static_cast<int64_t>(row) * a.grid + column) * a.ratio;
  const int32_t cols = a.ratio * a.ratio * a.n;
  const BlockAt at{a.in + patch * a.n, a.n, a.grid, a.ratio};
  layer_norm_row<chunks>(a.out + static_cast<int64_t>(blockIdx.x) * cols, cols / 8, at, a.w, a.bias, a.eps, scratch);
}

template <int chunks>
struct PixelShuffleNorm {
  static auto get() { return pixel_shuffle_norm_kernel<chunks>; }
};

}  // namespace

Status enqueue_pixel_shuffle_norm(const Op& op) {
  const nvlm_constants& c = op.c();
  if (c.ratio <= 0 || c.grid % c.ratio || op.in_cols % 8 || op.out_cols != op.in_cols * c.ratio * c.ratio)
    return Status::invalid;
  const ShuffleArgs args{
      op.in,   op.out_bf16(), op.w->vector(), op.bias->vector(), static_cast<int32_t>(op.in_cols), c.grid,
      c.ratio, c.transpose,   c.eps};
  return launch_norm<PixelShuffleNorm>(op.out_cols, dim3(static_cast<uint32_t>(op.out_rows)), op.stream, args);
}

}  // namespace nvlm::gpu
