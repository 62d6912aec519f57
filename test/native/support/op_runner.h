// Runs a case on a device, poisoned and guarded, and compares the outcome with the reference's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "support/op_case.h"

namespace nvlm::test {

// An open device; closed at the end, when everything taken from it must have been given back.
class Device {
 public:
  // set: "reference", or an instruction set of the CPU backend. Throws std::runtime_error with the backend's message.
  Device(const std::string& set, int threads);
  // Another backend's first device.
  explicit Device(const nvlm_backend& backend);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const nvlm_backend& table() const { return *backend_; }
  nvlm_device* handle() const { return device_; }
  const std::string& name() const { return name_; }
  nvlm_dtype activations() const { return activations_; }

 private:
  void open(const nvlm_open_options& options);

  const nvlm_backend* backend_;
  nvlm_device* device_ = nullptr;
  std::string name_;
  nvlm_dtype activations_ = NVLM_F32;
};

// The case as a device with bf16 activations gets it: every operand rounded (vectors and logits apart), limits widened
// by the rounding of what such a device writes. The reference computes the truth from the same rounded operands.
OpCase rounded(const OpCase& c);
// A device with bf16 activations reads 16 bytes at a time: rows must be multiples of 8.
bool fits_bf16(const OpCase& c);

struct Outcome {
  nvlm_status status = NVLM_OK;
  std::string error;
  std::vector<float> out;                // the last record's output
  std::vector<float> self_kv, cross_kv;  // whole caches
  std::vector<nvlm_sampled> sampled;
  std::string damage;       // what was written that is not the output; empty: nothing
  int64_t allocations = 0;  // of the whole program while the plan ran
};

// The case's records on their operands, loaded onto a device and compiled; run as often as wanted.
class Loaded {
 public:
  Loaded(const Device& device, const OpCase& c);  // status and error tell whether it compiled
  ~Loaded();
  Loaded(const Loaded&) = delete;
  Loaded& operator=(const Loaded&) = delete;

  nvlm_status status = NVLM_OK;
  std::string error;
  nvlm_status run(const nvlm_batch& batch) { return device_.table().run(device_.handle(), plan_, &batch, nullptr); }
  Outcome run();
  std::vector<float> self_cache() const { return read_cache(program_.self_kv); }

 private:
  std::vector<float> read_tensor(const nvlm_tensor& tensor, int64_t rows) const;
  std::vector<float> read_cache(const nvlm_kv_cache& kv) const;  // with its guards; empty where there is none
  void* alloc(uint64_t bytes);
  nvlm_kv_cache cache(const Cache& from);
  nvlm_dtype type_of(size_t tensor) const;
  void send_sources();

  const Device& device_;
  const OpCase& case_;
  std::vector<nvlm_record> records_;
  std::vector<nvlm_tensor> tensors_;
  std::vector<nvlm_weight*> weights_;
  std::vector<std::pair<void*, uint64_t>> memory_;
  std::vector<const void*> sources_;  // of the batch's rows, on the device
  nvlm_program program_{};
  nvlm_plan* plan_ = nullptr;
};

Outcome run_case(const Device& device, const OpCase& c);

struct Comparison {
  std::string wrong;    // empty: equal within the bounds. Else what differs first, with its coordinates
  double of_limit = 0;  // the largest error as a share of its limit, elements and root mean square; above 1 is wrong
};

// The case's bounds for the reference's outcome: its own, those of a chain (op_chain.h), or bit for bit.
Bounds bounds_of(const OpCase& c, const Outcome& truth);
// What differs; empty: nothing. Logprobs are sums in double of the same numbers, rounded to float32 once: the last bit
// may differ, and 1e-12 near zero, where the logarithm cancels.
std::string sampled_difference(const nvlm_sampled& got, const nvlm_sampled& truth);
Comparison compare(const OpCase& c, const Bounds& bounds, const Outcome& got, const Outcome& truth);

}  // namespace nvlm::test
