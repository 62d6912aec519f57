#include "host/weights.h"

#include <memory>
#include <new>

#include "ops/weight_source.h"

namespace nvlm::host {
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
  weight->bytes = device.kernels->packed_bytes(source);
  if (const nvlm_status status = device.take_zeroed(weight->bytes, &weight->data); status != NVLM_OK) return status;
  device.kernels->pack(source, *weight, device.threads);
  *out = weight.release();
  return NVLM_OK;
}

void free_weight(Device& device, nvlm_weight* weight) {
  device.give(weight->data, weight->bytes);
  delete weight;
}

}  // namespace nvlm::host
