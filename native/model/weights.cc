#include "model/weights.h"

#include "ops/cancel.h"
#include "platform/error.h"

namespace nvlm {
namespace {

uint64_t stored_bytes(const nvlm_weight_source& source) {
  uint64_t bytes = 0;
  for (int32_t p = 0; p < source.parts; ++p) {
    const auto& part = source.part[p];
    bytes += static_cast<uint64_t>(part.rows) * static_cast<uint64_t>(part.cols) * (part.dtype == NVLM_F32 ? 4 : 2);
  }
  return bytes;
}

}  // namespace

Weight WeightTable::add(nvlm_weight_use use, const std::vector<std::string>& names, const std::vector<std::vector<int64_t>>& shapes, bool interleave) {
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
    if (counter_) *counter_ += static_cast<uint64_t>(elements);
  }
  sources_.push_back(source);
  return size() - 1;
}

Weight WeightTable::vector(const std::string& name, std::vector<int64_t> shape) { return add(NVLM_VECTOR, {name}, {std::move(shape)}, false); }

Weight WeightTable::vectors(const std::vector<std::string>& names, const std::vector<int64_t>& lengths) {
  std::vector<std::vector<int64_t>> shapes;
  for (const int64_t n : lengths) shapes.push_back({n});
  return add(NVLM_VECTOR, names, shapes, false);
}

Weight WeightTable::matrix(const std::string& name, int64_t rows, int64_t cols) { return add(NVLM_MATRIX, {name}, {{rows, cols}}, false); }

Weight WeightTable::kernel(const std::string& name, std::vector<int64_t> shape) { return add(NVLM_MATRIX, {name}, {std::move(shape)}, false); }

Weight WeightTable::stacked(const std::vector<std::string>& names, const std::vector<int64_t>& rows, int64_t cols) {
  std::vector<std::vector<int64_t>> shapes;
  for (const int64_t n : rows) shapes.push_back({n, cols});
  return add(NVLM_MATRIX, names, shapes, false);
}

Weight WeightTable::interleaved(const std::string& gate, const std::string& up, int64_t rows, int64_t cols) {
  return add(NVLM_MATRIX, {gate, up}, {{rows, cols}, {rows, cols}}, true);
}

Weight WeightTable::table(const std::string& name, int64_t rows, int64_t cols) { return add(NVLM_TABLE, {name}, {{rows, cols}}, false); }

int64_t WeightTable::rows(Weight w) const {
  const nvlm_weight_source& source = sources_.at(static_cast<size_t>(w));
  int64_t rows = 0;
  for (int32_t p = 0; p < source.parts; ++p) rows += source.use == NVLM_VECTOR ? source.part[p].cols : source.part[p].rows;
  return source.interleave ? rows / 2 : rows;
}

uint64_t WeightTable::packed_bytes(const nvlm_backend& backend, nvlm_device* device) const {
  uint64_t bytes = 0;
  for (const nvlm_weight_source& source : sources_) bytes += backend.weight_bytes(device, &source);
  return bytes;
}

void WeightTable::upload(const nvlm_backend& backend, nvlm_device* device, const std::function<void(uint64_t, uint64_t)>& progress,
                         const volatile int32_t* cancel) {
  uint64_t total = 0, done = 0;
  for (const nvlm_weight_source& source : sources_) total += stored_bytes(source);
  for (const nvlm_weight_source& source : sources_) {
    if (cancelled(cancel)) throw Error("aborted", "Loading was aborted.");
    nvlm_weight* weight = nullptr;
    const nvlm_status status = backend.upload_weight(device, &source, &weight);
    if (status != NVLM_OK) throw Error(status == NVLM_OUT_OF_MEMORY ? "out-of-memory" : "internal", backend.last_error(device));
    uploaded_.push_back(weight);
    done += stored_bytes(source);
    if (progress) progress(done, total);
  }
}

void WeightTable::free(const nvlm_backend& backend, nvlm_device* device) {
  for (nvlm_weight* weight : uploaded_) backend.free_weight(device, weight);
  uploaded_.clear();
}

}  // namespace nvlm
