#include <algorithm>

#include "reference/kernels.h"

namespace nvlm::reference {

void embed(const host::Op& op) {
  const nvlm_batch& b = *op.batch;
  for (int64_t r = 0; r < op.out_rows; ++r) {
    const float* from = b.source && b.source[r] ? static_cast<const float*>(b.source[r]) : row(*op.w, b.token[r]);
    std::copy_n(from, op.out_cols, op.out + r * op.out_cols);
  }
}

void gather_rows(const host::Op& op) {
  for (int64_t o = 0; o < op.out_rows; ++o)
    std::copy_n(op.in + op.batch->out_row[o] * op.in_cols, op.in_cols, op.out + o * op.in_cols);
}

}  // namespace nvlm::reference
