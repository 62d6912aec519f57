// The kernel table of one instruction set.
#include "cpu/sampling.h"
#include "cpu/set/kernels.h"

#define NVLM_STRING_(x) #x
#define NVLM_STRING(x) NVLM_STRING_(x)

namespace nvlm::cpu::NVLM_CPU_SET {

namespace {

constexpr OpTable<host::Kernel> kOps = op_table<host::Kernel>({
    {NVLM_PATCH_EMBED, {patch_embed, patch_embed_scratch}},
    {NVLM_RMS_NORM, {rms_norm}},
    {NVLM_LAYER_NORM, {layer_norm}},
    {NVLM_QK_NORM, {qk_norm}},
    {NVLM_LINEAR, {linear}},
    {NVLM_LINEAR_GELU, {linear_gelu}},
    {NVLM_LINEAR_SWIGLU, {linear_swiglu}},
    {NVLM_LINEAR_RESIDUAL, {linear_residual}},
    {NVLM_ROPE_KV_WRITE, {rope_kv_write, rope_kv_write_scratch}},
    {NVLM_KV_WRITE, {kv_write}},
    {NVLM_ATTENTION, {attention, attention_scratch}},
    {NVLM_PIXEL_SHUFFLE_NORM, {pixel_shuffle_norm}},
    {NVLM_EMBED, {embed}},
    {NVLM_GATHER_ROWS, {gather_rows}},
    {NVLM_LOGITS, {linear}},
    {NVLM_SAMPLE, {sample, sample_scratch}},
});

}  // namespace

const host::Kernels& kernels() {
  static constexpr host::Kernels table = {NVLM_STRING(NVLM_CPU_SET), kOps, packed_bytes, pack};
  return table;
}

}  // namespace nvlm::cpu::NVLM_CPU_SET
