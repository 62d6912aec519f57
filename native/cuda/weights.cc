#include "cuda/weights.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "cuda/bf16.h"
#include "ops/weight_source.h"

namespace nvlm::gpu {
namespace {

// Row `row` of a part as bf16, the padding behind it zero.
void put_row(const nvlm_weight_source& source, SourceRow from, int64_t pitch, bf16* to) {
  const auto& part = source.part[from.part];
  const int64_t first = from.row * part.row_stride;
  if (part.dtype == NVLM_BF16) {
    std::memcpy(to, static_cast<const unsigned char*>(part.data) + first * 2, static_cast<size_t>(part.cols) * 2);
  } else {
    for (int64_t i = 0; i < part.cols; ++i) to[i] = to_bf16(stored_value(part.data, part.dtype, first + i));
  }
  std::fill(to + part.cols, to + pitch, bf16{0});
}

Status send_matrix(nvlm_device* device, const nvlm_weight_source& source, int64_t rows, int64_t pitch, void* to) {
  const uint64_t row_bytes = static_cast<uint64_t>(pitch) * sizeof(bf16);
  return device->staging.send(to, static_cast<uint64_t>(rows) * row_bytes, row_bytes,
                              [&](unsigned char* pinned, uint64_t offset, uint64_t bytes) {
                                for (uint64_t done = 0; done < bytes; done += row_bytes) {
                                  put_row(source, source_row(source, static_cast<int64_t>((offset + done) / row_bytes)),
                                          pitch, reinterpret_cast<bf16*>(pinned + done));
                                }
                              });
}

Status send_vector(nvlm_device* device, const nvlm_weight_source& source, void* to) {
  auto* at = static_cast<float*>(to);
  for (int32_t p = 0; p < source.parts; ++p) {
    const auto& part = source.part[p];
    const Status status = device->staging.send(at, static_cast<uint64_t>(part.cols) * sizeof(float), sizeof(float),
                                               [&](unsigned char* pinned, uint64_t offset, uint64_t bytes) {
                                                 for (uint64_t i = 0; i < bytes / sizeof(float); ++i) {
                                                   reinterpret_cast<float*>(pinned)[i] =
                                                       stored_value(part.data, part.dtype,
                                                                    static_cast<int64_t>(offset / sizeof(float) + i));
                                                 }
                                               });
    if (status != Status::ok) return status;
    at += part.cols;
  }
  return Status::ok;
}

}  // namespace

uint64_t weight_bytes(const nvlm_weight_source& source) {
  if (source.use == NVLM_VECTOR) return static_cast<uint64_t>(vector_length(source)) * sizeof(float);
  return static_cast<uint64_t>(source_rows(source)) * static_cast<uint64_t>(pitch_of(source.part[0].cols)) *
         sizeof(bf16);
}

nvlm_status make_weight(nvlm_device* device, const nvlm_weight_source& source,
                        const std::function<nvlm_status(const nvlm_weight&)>& fill, nvlm_weight** out) {
  const char* wrong = nullptr;
  if (const nvlm_status status = check_source(source, &wrong); status != NVLM_OK) return device->refuse(status, wrong);
  auto weight = std::make_unique<nvlm_weight>();
  const bool vector = source.use == NVLM_VECTOR;
  weight->use = source.use;
  weight->interleaved = source.interleave != 0;
  weight->rows = vector ? 1 : source_rows(source);
  weight->cols = vector ? vector_length(source) : source.part[0].cols;
  weight->dtype = vector ? NVLM_F32 : NVLM_BF16;
  weight->bytes = weight_bytes(source);
  if (const nvlm_status status = device->take(weight->bytes, &weight->data); status != NVLM_OK) return status;
  if (const nvlm_status status = fill(*weight); status != NVLM_OK) {
    device->give(weight->data);
    return status;
  }
  *out = weight.release();
  return NVLM_OK;
}

nvlm_status upload_weight(nvlm_device* device, const nvlm_weight_source* source, nvlm_weight** out) {
  const auto send = [&](const nvlm_weight& weight) {
    const Status status = source->use == NVLM_VECTOR
                              ? send_vector(device, *source, weight.data)
                              : send_matrix(device, *source, weight.rows, pitch_of(weight.cols), weight.data);
    return device->check(status, "sending a weight");
  };
  return make_weight(device, *source, send, out);
}

}  // namespace nvlm::gpu
