// The kernel table of one instruction set, in the order of nvlm_op.
#include "cpu/set/kernels.h"
#include "ops/sampling.h"

#define NVLM_STRING_(x) #x
#define NVLM_STRING(x) NVLM_STRING_(x)

namespace nvlm::cpu::NVLM_CPU_SET {

// Rows are sampled in parallel; one row is scalar work, the same for every set.
void sample(const host::Op& op) {
  if (!op.batch->sampled) return;
  op.parallel(op.in_rows, [&](int64_t o) { host::sample_row(op.in + o * op.in_cols, op.in_cols, op.batch->sampling[o], op.batch->sampled + o); });
}

const host::Kernels& kernels() {
  static constexpr host::Kernels table = {NVLM_STRING(NVLM_CPU_SET),
                                          {patch_embed, rms_norm, layer_norm, qk_norm, linear, linear_gelu, linear_swiglu, linear_residual, rope_kv_write, kv_write,
                                           attention, pixel_shuffle_norm, embed, gather_rows, linear /* logits */, sample},
                                          packed_bytes,
                                          pack};
  return table;
}

}  // namespace nvlm::cpu::NVLM_CPU_SET
