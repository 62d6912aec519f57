// The weights of a model: declared from the checkpoint's headers (which checks every name and shape), then packed by
// the backend one by one.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "model/checkpoint.h"
#include "ops/ops.h"

namespace nvlm {

class Device;

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

  // Of tensors that are stored with the encoder's dummy heads (spec section 2), the part without them.
  // q, k and v of one tensor [3·stored, cols] or [3·stored]: the first `kept` rows of each. upload() checks that the
  // others are zero.
  Weight qkv_matrix(const std::string& name, int64_t stored, int64_t kept, int64_t cols);
  Weight qkv_vector(const std::string& name, int64_t stored, int64_t kept);
  // The first `kept` of `stored` elements or columns. What the others hold does not matter: they meet only zeros.
  Weight first_of_vector(const std::string& name, int64_t stored, int64_t kept);
  Weight first_columns(const std::string& name, int64_t rows, int64_t stored, int64_t kept);

  bool has(const std::string& name) const { return checkpoint_.has(name); }

  // Rows of a matrix, or length of a vector; a pair of interleaved rows counts once.
  int64_t rows(Weight w) const;

  int64_t cols(Weight w) const { return sources_.at(static_cast<size_t>(w)).part[0].cols; }

  uint64_t packed_bytes(const Device& device) const;
  // Throws corrupt-checkpoint for a dummy head that is not zero, aborted, out-of-memory.
  void upload(const Device& device, const std::function<void(uint64_t, uint64_t)>& progress,
              const volatile int32_t* cancel);
  void free(const Device& device);
  nvlm_weight* const* data() const { return uploaded_.data(); }
  int32_t size() const { return static_cast<int32_t>(sources_.size()); }

 private:
  // Stored values that are dropped from a weight: elements [first, first + count) of the tensor, whose rows have
  // `cols`.
  struct DummyRows {
    Weight weight;
    const StoredTensor* tensor;
    int64_t first, count, cols;
  };

  Weight add(nvlm_weight_use use, const std::vector<std::string>& names,
             const std::vector<std::vector<int64_t>>& shapes, bool interleave);
  Weight add_qkv(nvlm_weight_use use, const StoredTensor& tensor, int64_t stored, int64_t kept, int64_t cols);
  Weight push(const nvlm_weight_source& source);
  static void check_zero(const DummyRows& rows);

  Checkpoint& checkpoint_;
  uint64_t* counter_ = nullptr;
  std::vector<nvlm_weight_source> sources_;
  std::vector<DummyRows> dummy_rows_;  // ascending by weight
  std::vector<nvlm_weight*> uploaded_;
};

}  // namespace nvlm
