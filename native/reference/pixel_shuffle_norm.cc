#include <cmath>

#include "reference/kernels.h"

namespace nvlm::reference {

void pixel_shuffle_norm(const host::Op& op) {
  const nvlm_constants& c = op.c();
  const int64_t grid = c.grid, ratio = c.ratio, side = grid / ratio, n = op.in_cols;
  for (int64_t tile = 0; tile < op.batch->tiles; ++tile) {
    const float* in = op.in + (tile * (grid * grid + 1) + 1) * n;  // the class row is dropped
    for (int64_t token = 0; token < side * side; ++token) {
      const int64_t block_row = c.transpose ? token % side : token / side,
                    block_col = c.transpose ? token / side : token % side;
      float* out = op.out + (tile * side * side + token) * op.out_cols;
      for (int64_t y = 0; y < ratio; ++y) {
        for (int64_t x = 0; x < ratio; ++x) {
          const float* patch = in + ((block_row * ratio + y) * grid + block_col * ratio + x) * n;
          for (int64_t i = 0; i < n; ++i) out[(y * ratio + x) * n + i] = patch[i];
        }
      }
    }
  }
  host::Op norm = op;  // then a layer norm in place
  norm.in = op.out;
  norm.in_rows = op.out_rows;
  norm.in_cols = op.out_cols;
  layer_norm(norm);
}

}  // namespace nvlm::reference
