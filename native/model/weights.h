// The weights of a model: declared from the checkpoint's headers (which checks every name and shape), then packed by the backend one by one.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "model/checkpoint.h"
#include "ops/ops.h"

namespace nvlm {

// Number of a weight in the table; -1: there is none (an absent bias).
using Weight = int32_t;
constexpr Weight kNoWeight = -1;

class WeightTable {
 public:
  explicit WeightTable(Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  // Parameters declared after this are added to *counter (nullptr: not counted).
  void count_into(uint64_t* counter) { counter_ = counter; }

  Weight vector(const std::string& name, std::vector<int64_t> shape);
  // Vectors laid end to end.
  Weight vectors(const std::vector<std::string>& names, const std::vector<int64_t>& lengths);
  Weight matrix(const std::string& name, int64_t rows, int64_t cols);
  // A convolution's kernel [rows, a, b, c] read as a matrix [rows, a*b*c].
  Weight kernel(const std::string& name, std::vector<int64_t> shape);
  // Matrices of equal width stacked by rows.
  Weight stacked(const std::vector<std::string>& names, const std::vector<int64_t>& rows, int64_t cols);
  // Gate and up, row by row in turn.
  Weight interleaved(const std::string& gate, const std::string& up, int64_t rows, int64_t cols);
  Weight table(const std::string& name, int64_t rows, int64_t cols);
  bool has(const std::string& name) const { return checkpoint_.has(name); }

  // Rows of a matrix, or length of a vector; a pair of interleaved rows counts once.
  int64_t rows(Weight w) const;

  int64_t cols(Weight w) const { return sources_.at(static_cast<size_t>(w)).part[0].cols; }

  uint64_t packed_bytes(const nvlm_backend& backend, nvlm_device* device) const;
  void upload(const nvlm_backend& backend, nvlm_device* device, const std::function<void(uint64_t, uint64_t)>& progress, const volatile int32_t* cancel);
  void free(const nvlm_backend& backend, nvlm_device* device);
  nvlm_weight* const* data() const { return uploaded_.data(); }
  int32_t size() const { return static_cast<int32_t>(sources_.size()); }

 private:
  Weight add(nvlm_weight_use use, const std::vector<std::string>& names, const std::vector<std::vector<int64_t>>& shapes, bool interleave);

  Checkpoint& checkpoint_;
  uint64_t* counter_ = nullptr;
  std::vector<nvlm_weight_source> sources_;
  std::vector<nvlm_weight*> uploaded_;
};

}  // namespace nvlm
