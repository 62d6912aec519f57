// The CUDA backend, or the emulator, with weights made on the device: its table with one function replaced.
#include <memory>
#include <stdexcept>

#include "cuda/device.h"
#include "cuda/weights.h"
#include "random_weights.h"

namespace nvlm::random {
namespace {

// As gpu::upload_weight, but for the bytes.
nvlm_status upload_weight(nvlm_device* device, const nvlm_weight_source* source, nvlm_weight** out) {
  const char* wrong = nullptr;
  if (const nvlm_status status = host::check_source(*source, &wrong); status != NVLM_OK) return device->refuse(status, wrong);
  const bool vector = source->use == NVLM_VECTOR;
  auto weight = std::make_unique<nvlm_weight>();
  weight->use = source->use;
  weight->interleaved = source->interleave != 0;
  weight->rows = vector ? 1 : host::source_rows(*source);
  weight->bytes = gpu::weight_bytes(*source);
  weight->dtype = vector ? NVLM_F32 : NVLM_BF16;
  weight->cols = vector ? static_cast<int64_t>(weight->bytes / sizeof(float)) : source->part[0].cols;
  if (const nvlm_status status = device->take(weight->bytes, &weight->data); status != NVLM_OK) return status;

  const int64_t pitch = static_cast<int64_t>(weight->bytes / sizeof(gpu::bf16)) / weight->rows;
  int64_t first = 0;  // row of the weight, or element of the vector
  for (int32_t p = 0; p < source->parts; ++p) {
    const auto& part = source->part[p];
    Filled filled{{}, nullptr, part.rows, part.cols, vector ? part.cols : pitch, source->interleave ? 2 : 1, vector};
    try {
      filled.values = values_of(part.data, part.row_stride);
    } catch (const std::runtime_error& error) {
      return device->refuse(NVLM_INVALID, error.what());
    }
    filled.data = vector ? static_cast<void*>(static_cast<float*>(weight->data) + first) : static_cast<gpu::bf16*>(weight->data) + first * pitch;
    if (const nvlm_status status = device->check(enqueue_random_weights(filled, device->stream), "making a weight"); status != NVLM_OK) return status;
    first += vector ? part.cols : source->interleave ? 1 : part.rows;
  }
  *out = weight.release();
  return NVLM_OK;
}

}  // namespace
}  // namespace nvlm::random

extern "C" __attribute__((visibility("default"))) const nvlm_backend* nvlm_random_backend(void) {
  static nvlm_backend table = *nvlm_cuda_backend();
  table.upload_weight = nvlm::random::upload_weight;
  return &table;
}
