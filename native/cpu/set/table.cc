// The kernel table of one instruction set, in the order of nvlm_op.
#include "cpu/set/kernels.h"
#include "host/sampling.h"

#define NVLM_STRING_(x) #x
#define NVLM_STRING(x) NVLM_STRING_(x)

namespace nvlm::cpu::NVLM_CPU_SET {

const host::Kernels& kernels() {
  static constexpr host::Kernels table = {NVLM_STRING(NVLM_CPU_SET),
                                          {{patch_embed, patch_embed_scratch},
                                           {rms_norm},
                                           {layer_norm},
                                           {qk_norm},
                                           {linear},
                                           {linear_gelu},
                                           {linear_swiglu},
                                           {linear_residual},
                                           {rope_kv_write, rope_kv_write_scratch},
                                           {kv_write},
                                           {attention, attention_scratch},
                                           {pixel_shuffle_norm},
                                           {embed},
                                           {gather_rows},
                                           {linear} /* logits */,
                                           {host::sample, host::sample_scratch}},
                                          packed_bytes,
                                          pack};
  return table;
}

}  // namespace nvlm::cpu::NVLM_CPU_SET
