// The CUDA backend, or the emulator, with weights made on the device: its table with one function replaced.
#include <stdexcept>

#include "cuda/device.h"
#include "cuda/weights.h"
#include "random_weights.h"

namespace nvlm::random {
namespace {

nvlm_status upload_weight(nvlm_device* device, const nvlm_weight_source* source, nvlm_weight** out) {
  const auto fill = [&](const nvlm_weight& weight) {
    const bool vector = weight.use == NVLM_VECTOR;
    const int64_t pitch = gpu::pitch_of(weight.cols);
    int64_t first = 0;  // row of the weight, or element of the vector
    for (int32_t p = 0; p < source->parts; ++p) {
      const auto& part = source->part[p];
      Filled filled{{}, nullptr, part.rows, part.cols, vector ? part.cols : pitch, source->interleave ? 2 : 1, vector};
      try {
        filled.values = values_of(part.data, part.row_stride);
      } catch (const std::runtime_error& error) {
        return device->refuse(NVLM_INVALID, error.what());
      }
      filled.data = vector ? static_cast<void*>(static_cast<float*>(weight.data) + first)
                           : static_cast<gpu::bf16*>(weight.data) + first * pitch;
      if (const nvlm_status status = device->check(enqueue_random_weights(filled, device->stream), "making a weight");
          status != NVLM_OK)
        return status;
      first += vector ? part.cols : source->interleave ? 1 : part.rows;
    }
    return NVLM_OK;
  };
  return gpu::make_weight(device, *source, fill, out);
}

}  // namespace
}  // namespace nvlm::random

extern "C" __attribute__((visibility("default"))) const nvlm_backend* nvlm_random_backend(void) {
  static nvlm_backend table = *nvlm_cuda_backend();
  table.upload_weight = nvlm::random::upload_weight;
  return &table;
}
