#include "reference/kernels.h"

namespace nvlm::reference {

void pixel_shuffle_norm(const host::Op& op) {
  const nvlm_constants& c = op.c();
  const int64_t side = c.grid / c.ratio, n = op.in_cols;
  for (int64_t tile = 0; tile < op.batch->tiles; ++tile) {
    const float* class_row = op.in + tile * (c.grid * c.grid + 1) * n;
    const float* patches = class_row + n;
    float* tokens = op.out + tile * side * side * op.out_cols;
    for (int64_t y = 0; y < c.grid; ++y) {
      for (int64_t x = 0; x < c.grid; ++x) {
        // The patch goes to the token of its block, to the place that it has in the block.
        const int64_t block_y = y / c.ratio, block_x = x / c.ratio;
        const int64_t token = c.transpose ? block_x * side + block_y : block_y * side + block_x;
        const int64_t place = y % c.ratio * c.ratio + x % c.ratio;
        for (int64_t i = 0; i < n; ++i) tokens[token * op.out_cols + place * n + i] = patches[(y * c.grid + x) * n + i];
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
