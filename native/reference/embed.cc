#include "reference/kernels.h"

namespace nvlm::reference {

void embed(const host::Op& op) {
  const nvlm_batch& b = *op.batch;
  for (int64_t r = 0; r < op.out_rows; ++r) {
    const bool of_an_image = b.source && b.source[r];
    const float* from = of_an_image ? static_cast<const float*>(b.source[r]) : row(*op.w, b.token[r]);
    for (int64_t i = 0; i < op.out_cols; ++i) op.out[r * op.out_cols + i] = from[i];
  }
}

void gather_rows(const host::Op& op) {
  for (int64_t o = 0; o < op.out_rows; ++o) {
    for (int64_t i = 0; i < op.out_cols; ++i)
      op.out[o * op.out_cols + i] = op.in[op.batch->out_row[o] * op.in_cols + i];
  }
}

}  // namespace nvlm::reference
