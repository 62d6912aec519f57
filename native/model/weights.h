// The weights of a model: declared from the checkpoint's headers (which checks every name and shape), then packed by
// the backend one by one.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <limits>
#include <vector>

#include "model/checkpoint.h"
#include "model/tensor_names.h"
#include "ops/ops.h"

namespace nvlm {

class Device;

// Number of a weight in the table; -1: there is none (an absent bias).
using WeightId = int32_t;
constexpr WeightId kNoWeight = -1;

class WeightTable {
 public:
  explicit WeightTable(Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  // Parameters declared after this are added to *counter (nullptr: not counted).
  void count_into(uint64_t* counter) { counter_ = counter; }

  // One tensor, or several: vectors are laid end to end, matrices of equal width stacked by rows. A convolution's
  // kernel [rows, a, b, c] is read as a matrix [rows, a*b*c]. `layer` stands for the "{i}" of the names.
  using Names = std::initializer_list<TensorName>;
  WeightId vector(Names names, int layer = 0) { return add(NVLM_VECTOR, names, layer); }
  WeightId matrix(Names names, int layer = 0) { return add(NVLM_MATRIX, names, layer); }
  // Gate and up, row by row in turn.
  WeightId interleaved(const TensorName& gate, const TensorName& up, int layer);
  WeightId table(const TensorName& name) { return add(NVLM_TABLE, {name}, 0); }

  // Of tensors that are stored with the encoder's dummy heads (spec section 2), the part without them.
  // The first `kept` elements or rows of each; upload() checks that the others are zero.
  WeightId kept_vector(Names names, int layer, int64_t kept) { return add(NVLM_VECTOR, names, layer, kept); }
  WeightId kept_rows(Names names, int layer, int64_t kept) { return add(NVLM_MATRIX, names, layer, kept); }
  // The first `kept` elements or columns. The others may hold anything: they are only ever
  // multiplied by zeros.
  WeightId first_of_vector(const TensorName& name, int layer, int64_t kept);
  WeightId first_columns(const TensorName& name, int layer, int64_t kept);

  // Rows of a matrix, or length of a vector; a pair of interleaved rows counts once.
  int64_t rows(WeightId w) const;

  int64_t cols(WeightId w) const { return sources_.at(static_cast<size_t>(w)).part[0].cols; }

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
    WeightId weight;
    const StoredTensor* tensor;
    int64_t first, count, cols;
  };

  static constexpr int64_t kAll = std::numeric_limits<int64_t>::max();
  WeightId add(nvlm_weight_use use, Names names, int layer, int64_t kept = kAll);
  WeightId push(const nvlm_weight_source& source);
  static void check_zero(const DummyRows& rows);

  Checkpoint& checkpoint_;
  uint64_t* counter_ = nullptr;
  std::vector<nvlm_weight_source> sources_;  // [weights]
  std::vector<DummyRows> dummy_rows_;        // ascending by weight
  std::vector<nvlm_weight*> uploaded_;       // [weights], or fewer while they are uploaded
};

}  // namespace nvlm
