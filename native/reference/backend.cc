#include "host/backend.h"
#include "reference/kernels.h"
#include "reference/weights.h"

namespace nvlm::reference {
namespace {

void serial_for(void*, int64_t count, const std::function<void(int64_t, int)>& body) {
  for (int64_t i = 0; i < count; ++i) body(i, 0);
}

constexpr OpTable<host::Kernel> kOps = op_table<host::Kernel>({
    {NVLM_PATCH_EMBED, {patch_embed}},
    {NVLM_RMS_NORM, {rms_norm}},
    {NVLM_LAYER_NORM, {layer_norm}},
    {NVLM_QK_NORM, {qk_norm}},
    {NVLM_LINEAR, {linear}},
    {NVLM_LINEAR_GELU, {linear_gelu}},
    {NVLM_LINEAR_SWIGLU, {linear_swiglu}},
    {NVLM_LINEAR_RESIDUAL, {linear_residual}},
    {NVLM_ROPE_KV_WRITE, {rope_kv_write}},
    {NVLM_KV_WRITE, {kv_write}},
    {NVLM_ATTENTION, {attention, attention_scratch}},
    {NVLM_PIXEL_SHUFFLE_NORM, {pixel_shuffle_norm}},
    {NVLM_EMBED, {embed}},
    {NVLM_GATHER_ROWS, {gather_rows}},
    {NVLM_LOGITS, {linear}},
    {NVLM_SAMPLE, {sample, sample_scratch}},
});

constexpr host::Kernels kKernels = {"naive", kOps, packed_bytes, pack};

nvlm_status open(const nvlm_open_options* options, nvlm_device** device) {
  if (options->instruction_set) {
    host::set_open_error("The reference has no instruction sets to choose from. Name none.");
    return NVLM_UNSUPPORTED;
  }
  return host::open_device(kKernels, "reference", {serial_for, nullptr, 1}, nullptr, device);
}

}  // namespace
}  // namespace nvlm::reference

const nvlm_backend* nvlm_reference_backend(void) {
  static const nvlm_backend backend = [] {
    nvlm_backend b = nvlm::host::backend_table();
    b.name = "reference";
    b.open = nvlm::reference::open;
    return b;
  }();
  return &backend;
}
