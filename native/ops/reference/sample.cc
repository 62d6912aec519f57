#include "ops/reference/kernels.h"
#include "ops/sampling.h"

namespace nvlm::reference {

void sample(const host::Op& op) {
  if (!op.batch->sampled) return;
  for (int64_t o = 0; o < op.in_rows; ++o) host::sample_row(op.in + o * op.in_cols, op.in_cols, op.batch->sampling[o], op.batch->sampled + o);
}

}  // namespace nvlm::reference
