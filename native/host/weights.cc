#include "host/weights.h"

#include <memory>
#include <new>

#include "ops/weight_source.h"

namespace nvlm::host {
namespace {

void pack_vector(const nvlm_weight_source& source, nvlm_weight& weight) {
  auto* to = static_cast<float*>(weight.data);
  for (int32_t p = 0; p < source.parts; ++p) {
    for (int64_t i = 0; i < source.part[p].cols; ++i)
      *to++ = stored_value(source.part[p].data, source.part[p].dtype, i);
  }
}

}  // namespace

uint64_t weight_bytes(const Device& device, const nvlm_weight_source& source) {
  if (source.use != NVLM_VECTOR) return device.kernels->packed_bytes(source);
  return static_cast<uint64_t>(vector_length(source)) * sizeof(float);
}

nvlm_status upload_weight(Device& device, const nvlm_weight_source& source, nvlm_weight** out) {
  const char* wrong = nullptr;
  if (const nvlm_status status = check_source(source, &wrong); status != NVLM_OK) return device.fail(status, wrong);
  const bool vector = source.use == NVLM_VECTOR;
  std::unique_ptr<nvlm_weight> weight(new (std::nothrow) nvlm_weight{});
  if (!weight) return device.fail(NVLM_OUT_OF_MEMORY, "no memory for a weight");
  weight->use = source.use;
  weight->interleaved = source.interleave != 0;
  weight->rows = vector ? 1 : source_rows(source);
  weight->cols = vector ? vector_length(source) : source.part[0].cols;
  weight->dtype = vector ? NVLM_F32 : source.part[0].dtype;
  weight->bytes = weight_bytes(device, source);
  if (const nvlm_status status = device.take_zeroed(weight->bytes, &weight->data); status != NVLM_OK) return status;
  if (vector) {
    pack_vector(source, *weight);
  } else {
    device.kernels->pack(source, *weight);
  }
  *out = weight.release();
  return NVLM_OK;
}

void free_weight(Device& device, nvlm_weight* weight) {
  device.give(weight->data, weight->bytes);
  delete weight;
}

}  // namespace nvlm::host
