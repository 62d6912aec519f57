#include "model/weights.h"

#include <algorithm>
#include <cstring>

#include "model/device.h"
#include "ops/cancel.h"
#include "platform/error.h"

namespace nvlm {
namespace {

uint64_t size_of(nvlm_dtype dtype) { return dtype == NVLM_F32 ? 4 : 2; }

uint64_t stored_bytes(const nvlm_weight_source& source) {
  uint64_t bytes = 0;
  for (int32_t p = 0; p < source.parts; ++p) {
    const auto& part = source.part[p];
    bytes += static_cast<uint64_t>(part.rows) * static_cast<uint64_t>(part.cols) * size_of(part.dtype);
  }
  return bytes;
}

// Index of the first value that is neither 0 nor -0; `count` when there is none. Looks at the bits of whole blocks: the
// 72B's dummy rows take 770 MB.
int64_t first_nonzero(const std::byte* data, nvlm_dtype dtype, int64_t count) {
  const auto bytes = static_cast<size_t>(count) * size_of(dtype);
  const uint64_t without_signs = dtype == NVLM_F32 ? 0x7fffffff7fffffff : 0x7fff7fff7fff7fff;
  constexpr size_t kBlock = 4096;
  for (size_t at = 0; at < bytes; at += kBlock) {
    uint64_t words[kBlock / sizeof(uint64_t)] = {};
    std::memcpy(words, data + at, std::min(kBlock, bytes - at));
    uint64_t any = 0;
    for (const uint64_t word : words) any |= word;
    if ((any & without_signs) == 0) continue;
    const auto zero = [&](size_t value) {
      uint32_t bits = 0;
      std::memcpy(&bits, data + at + value * size_of(dtype), size_of(dtype));
      return (bits & static_cast<uint32_t>(without_signs)) == 0;
    };
    size_t value = 0;
    while (zero(value)) ++value;  // ends: some bit is set
    return static_cast<int64_t>(at / size_of(dtype) + value);
  }
  return count;
}

}  // namespace

WeightId WeightTable::add(nvlm_weight_use use, Names names, int layer, int64_t kept) {
  nvlm_weight_source source{};
  source.use = use;
  for (const TensorName& name : names) {
    const StoredTensor& tensor = checkpoint_.get(name.in_layer(layer), name.shape);
    int64_t elements = 1;  // cannot overflow: the checkpoint holds that many
    for (const int64_t n : tensor.shape) elements *= n;
    const int64_t cols = use == NVLM_VECTOR ? 1 : elements / tensor.shape[0];
    const int64_t rows = elements / cols / name.parts, used = std::min(kept, rows);
    const int64_t first = name.part * rows * cols;
    const std::byte* data = tensor.data + static_cast<uint64_t>(first) * size_of(tensor.dtype);
    auto& part = source.part[source.parts++];
    if (use == NVLM_VECTOR) {
      part = {data, tensor.dtype, 1, used, used};
    } else {
      part = {data, tensor.dtype, used, cols, cols};
    }
    if (used < rows) dummy_rows_.push_back({size(), &tensor, first + used * cols, (rows - used) * cols, cols});
  }
  return push(source);
}

WeightId WeightTable::interleaved(const TensorName& gate, const TensorName& up, int layer) {
  const WeightId w = add(NVLM_MATRIX, {gate, up}, layer);
  sources_.back().interleave = 1;
  return w;
}

WeightId WeightTable::first_of_vector(const TensorName& name, int layer, int64_t kept) {
  const StoredTensor& tensor = checkpoint_.get(name.in_layer(layer), name.shape);
  nvlm_weight_source source{};
  source.use = NVLM_VECTOR;
  source.parts = 1;
  source.part[0] = {tensor.data, tensor.dtype, 1, kept, kept};
  return push(source);
}

WeightId WeightTable::first_columns(const TensorName& name, int layer, int64_t kept) {
  const StoredTensor& tensor = checkpoint_.get(name.in_layer(layer), name.shape);
  nvlm_weight_source source{};
  source.use = NVLM_MATRIX;
  source.parts = 1;
  source.part[0] = {tensor.data, tensor.dtype, tensor.shape[0], kept, tensor.shape[1]};
  return push(source);
}

WeightId WeightTable::push(const nvlm_weight_source& source) {
  for (int32_t p = 0; counter_ && p < source.parts; ++p)
    *counter_ += static_cast<uint64_t>(source.part[p].rows * source.part[p].cols);
  sources_.push_back(source);
  return size() - 1;
}

int64_t WeightTable::rows(WeightId w) const {
  const nvlm_weight_source& source = sources_.at(static_cast<size_t>(w));
  int64_t rows = 0;
  for (int32_t p = 0; p < source.parts; ++p)
    rows += source.use == NVLM_VECTOR ? source.part[p].cols : source.part[p].rows;
  return source.interleave ? rows / 2 : rows;
}

uint64_t WeightTable::packed_bytes(const Device& device) const {
  uint64_t bytes = 0;
  for (const nvlm_weight_source& source : sources_) bytes += device.backend.weight_bytes(device.handle, &source);
  return bytes;
}

void WeightTable::upload(const Device& device, const std::function<void(uint64_t, uint64_t)>& progress,
                         const volatile int32_t* cancel) {
  uint64_t total = 0, done = 0;
  for (const nvlm_weight_source& source : sources_) total += stored_bytes(source);
  auto dummies = dummy_rows_.begin();
  for (const nvlm_weight_source& source : sources_) {
    if (cancelled(cancel)) throw Error("aborted", "Loading was aborted. Load the model again if it is still wanted.");
    for (; dummies != dummy_rows_.end() && dummies->weight == static_cast<WeightId>(uploaded_.size()); ++dummies)
      check_zero(*dummies);
    nvlm_weight* weight = nullptr;
    device.check(device.backend.upload_weight(device.handle, &source, &weight), "loading a weight");
    uploaded_.push_back(weight);
    done += stored_bytes(source);
    if (progress) progress(done, total);
  }
}

void WeightTable::check_zero(const DummyRows& rows) {
  const StoredTensor& tensor = *rows.tensor;
  const int64_t found =
      first_nonzero(tensor.data + static_cast<uint64_t>(rows.first) * size_of(tensor.dtype), tensor.dtype, rows.count);
  if (found == rows.count) return;
  throw Error("corrupt-checkpoint", "The tensor " + tensor.name + " in " + tensor.file + " is not zero in row " +
                                        std::to_string((rows.first + found) / rows.cols) +
                                        ", in a head beyond vision_config.num_attention_heads; such heads are dummies "
                                        "and must be zero. Download or copy the file "
                                        "again, or correct the key.");
}

void WeightTable::free(const Device& device) {
  for (nvlm_weight* weight : uploaded_) device.backend.free_weight(device.handle, weight);
  uploaded_.clear();
}

}  // namespace nvlm
