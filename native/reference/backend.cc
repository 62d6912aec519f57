#include "host/backend.h"
#include "host/sampling.h"
#include "ops/weight_source.h"
#include "reference/kernels.h"

namespace nvlm::reference {
namespace {

uint64_t packed_bytes(const nvlm_weight_source& source) {
  return static_cast<uint64_t>(source_rows(source)) * static_cast<uint64_t>(source.part[0].cols) * sizeof(float);
}

// Everything becomes float32 rows in their final order.
void pack(const nvlm_weight_source& source, nvlm_weight& weight) {
  auto* to = static_cast<float*>(weight.data);
  for (int64_t r = 0; r < weight.rows; ++r) {
    const SourceRow from = source_row(source, r);
    const auto& part = source.part[from.part];
    for (int64_t i = 0; i < weight.cols; ++i)
      *to++ = stored_value(part.data, part.dtype, from.row * part.row_stride + i);
  }
  weight.dtype = NVLM_F32;
}

void serial_for(void*, int64_t count, const std::function<void(int64_t, int)>& body) {
  for (int64_t i = 0; i < count; ++i) body(i, 0);
}

constexpr host::Kernels kKernels = {"naive",
                                    {{patch_embed},
                                     {rms_norm},
                                     {layer_norm},
                                     {qk_norm},
                                     {linear},
                                     {linear_gelu},
                                     {linear_swiglu},
                                     {linear_residual},
                                     {rope_kv_write},
                                     {kv_write},
                                     {attention, attention_scratch},
                                     {pixel_shuffle_norm},
                                     {embed},
                                     {gather_rows},
                                     {linear} /* logits */,
                                     {host::sample, host::sample_scratch}},
                                    packed_bytes,
                                    pack};

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
