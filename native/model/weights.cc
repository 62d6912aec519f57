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

Weight WeightTable::add(nvlm_weight_use use, const std::vector<std::string>& names,
                        const std::vector<std::vector<int64_t>>& shapes, bool interleave) {
  nvlm_weight_source source{};
  source.use = use;
  source.parts = static_cast<int32_t>(names.size());
  source.interleave = interleave ? 1 : 0;
  for (size_t i = 0; i < names.size(); ++i) {
    const StoredTensor& tensor = checkpoint_.get(names[i], shapes[i]);
    int64_t elements = 1;  // cannot overflow: the checkpoint holds that many
    for (const int64_t n : tensor.shape) elements *= n;
    const int64_t rows = use == NVLM_VECTOR ? 1 : tensor.shape[0];
    source.part[i] = {tensor.data, tensor.dtype, rows, elements / rows, elements / rows};
  }
  return push(source);
}

Weight WeightTable::push(const nvlm_weight_source& source) {
  for (int32_t p = 0; counter_ && p < source.parts; ++p)
    *counter_ += static_cast<uint64_t>(source.part[p].rows * source.part[p].cols);
  sources_.push_back(source);
  return size() - 1;
}

Weight WeightTable::vector(const std::string& name, std::vector<int64_t> shape) {
  return add(NVLM_VECTOR, {name}, {std::move(shape)}, false);
}

Weight WeightTable::vectors(const std::vector<std::string>& names, const std::vector<int64_t>& lengths) {
  std::vector<std::vector<int64_t>> shapes;
  for (const int64_t n : lengths) shapes.push_back({n});
  return add(NVLM_VECTOR, names, shapes, false);
}

Weight WeightTable::matrix(const std::string& name, int64_t rows, int64_t cols) {
  return add(NVLM_MATRIX, {name}, {{rows, cols}}, false);
}

Weight WeightTable::kernel(const std::string& name, std::vector<int64_t> shape) {
  return add(NVLM_MATRIX, {name}, {std::move(shape)}, false);
}

Weight WeightTable::stacked(const std::vector<std::string>& names, const std::vector<int64_t>& rows, int64_t cols) {
  std::vector<std::vector<int64_t>> shapes;
  for (const int64_t n : rows) shapes.push_back({n, cols});
  return add(NVLM_MATRIX, names, shapes, false);
}

Weight WeightTable::interleaved(const std::string& gate, const std::string& up, int64_t rows, int64_t cols) {
  return add(NVLM_MATRIX, {gate, up}, {{rows, cols}, {rows, cols}}, true);
}

Weight WeightTable::table(const std::string& name, int64_t rows, int64_t cols) {
  return add(NVLM_TABLE, {name}, {{rows, cols}}, false);
}

Weight WeightTable::qkv_matrix(const std::string& name, int64_t stored, int64_t kept, int64_t cols) {
  return add_qkv(NVLM_MATRIX, checkpoint_.get(name, {3 * stored, cols}), stored, kept, cols);
}

Weight WeightTable::qkv_vector(const std::string& name, int64_t stored, int64_t kept) {
  return add_qkv(NVLM_VECTOR, checkpoint_.get(name, {3 * stored}), stored, kept, 1);
}

Weight WeightTable::add_qkv(nvlm_weight_use use, const StoredTensor& tensor, int64_t stored, int64_t kept,
                            int64_t cols) {
  nvlm_weight_source source{};
  source.use = use;
  source.parts = 3;
  for (int64_t part = 0; part < 3; ++part) {
    const int64_t first = part * stored * cols;
    const std::byte* data = tensor.data + static_cast<uint64_t>(first) * size_of(tensor.dtype);
    if (use == NVLM_VECTOR) {
      source.part[part] = {data, tensor.dtype, 1, kept, kept};
    } else {
      source.part[part] = {data, tensor.dtype, kept, cols, cols};
    }
    if (kept < stored) dummy_rows_.push_back({size(), &tensor, first + kept * cols, (stored - kept) * cols, cols});
  }
  return push(source);
}

Weight WeightTable::first_of_vector(const std::string& name, int64_t stored, int64_t kept) {
  const StoredTensor& tensor = checkpoint_.get(name, {stored});
  nvlm_weight_source source{};
  source.use = NVLM_VECTOR;
  source.parts = 1;
  source.part[0] = {tensor.data, tensor.dtype, 1, kept, kept};
  return push(source);
}

Weight WeightTable::first_columns(const std::string& name, int64_t rows, int64_t stored, int64_t kept) {
  const StoredTensor& tensor = checkpoint_.get(name, {rows, stored});
  nvlm_weight_source source{};
  source.use = NVLM_MATRIX;
  source.parts = 1;
  source.part[0] = {tensor.data, tensor.dtype, rows, kept, stored};
  return push(source);
}

int64_t WeightTable::rows(Weight w) const {
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
    for (; dummies != dummy_rows_.end() && dummies->weight == static_cast<Weight>(uploaded_.size()); ++dummies)
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
