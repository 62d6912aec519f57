// pixel_shuffle_norm (spec section 4): each block of neighbouring patches becomes one token, then a layer norm. Threads
// take tokens.
#include "cpu/set/kernels.h"

namespace nvlm::cpu::NVLM_CPU_SET {

void pixel_shuffle_norm(const host::Op& op) {
  const nvlm_constants& c = op.c();
  const int64_t grid = c.grid, ratio = c.ratio, side = grid / ratio, n = op.in_cols;
  parallel_rows(op.threads, op.out_rows, row_grain(op.out_cols), [&](int64_t first, int64_t end) {
    for (int64_t r = first; r < end; ++r) {
      const int64_t tile = r / (side * side), token = r % (side * side);
      const int64_t block_row = c.transpose ? token % side : token / side,
                    block_col = c.transpose ? token / side : token % side;
      const float* in = op.in + (tile * (grid * grid + 1) + 1) * n;  // the class row is dropped
      float* out = op.out + r * op.out_cols;
      for (int64_t y = 0; y < ratio; ++y) {
        std::copy_n(in + ((block_row * ratio + y) * grid + block_col * ratio) * n, ratio * n, out + y * ratio * n);
      }
      layer_norm_row(out, out, op.w->floats(), op.bias->floats(), op.out_cols, c.eps);
    }
  });
}

}  // namespace nvlm::cpu::NVLM_CPU_SET
