// embed and gather_rows: copies. Threads take blocks of rows. A row of a tied head's matrix is a column of one of its
// panels (linear.cc): its values lie a panel apart, which takes longer to read than a dense row, but nothing beside the
// products of its step.
#include "cpu/set/kernels.h"
#include "cpu/set/linear.h"
#include "ops/weight_source.h"

namespace nvlm::cpu::NVLM_CPU_SET {

void embed(const host::Op& op) {
  const nvlm_batch& b = *op.batch;
  const int64_t n = op.out_cols;
  const bool panels = op.w->use == NVLM_MATRIX;
  parallel_rows(op.threads, op.out_rows, row_grain(n), [&](int64_t first, int64_t end) {
    for (int64_t r = first; r < end; ++r) {
      float* out = op.out + r * n;
      if (b.source && b.source[r]) {
        std::copy_n(static_cast<const float*>(b.source[r]), n, out);
      } else {
        const int64_t token = b.token[r], step = panels ? kPanel : 1,
                      at = panels ? token / kPanel * kPanel * n + token % kPanel : token * n;
        for (int64_t i = 0; i < n; ++i) out[i] = stored_value(op.w->data, op.w->dtype, at + i * step);
      }
    }
  });
}

void gather_rows(const host::Op& op) {
  for (int64_t o = 0; o < op.out_rows; ++o)
    std::copy_n(op.in + op.batch->out_row[o] * op.in_cols, op.in_cols, op.out + o * op.in_cols);
}

}  // namespace nvlm::cpu::NVLM_CPU_SET
