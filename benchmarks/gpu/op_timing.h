// What a timed op needs: device memory with values that the host knows, a comparison at sampled places, and the time of
// a launch.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/bf16.h"
#include "cuda/gpu.h"
#include "support/split_mix.h"

namespace nvlm::times {

using namespace gpu;

inline void expect(Status status, const std::string& doing) {
  if (status != Status::ok) throw std::runtime_error(doing + ": " + message());
}

// The device of this run.
struct Machine {
  DeviceInfo info{};
  Stream stream = nullptr;
  bool tiny = false;
  uint64_t rotated_bytes() const { return tiny ? 1 : uint64_t{3} * static_cast<uint64_t>(info.l2_bytes); }
};

class Memory {
 public:
  Memory(const Machine& machine, uint64_t bytes) : machine_(machine), bytes_(bytes) {
    expect(alloc(&data_, bytes, machine.stream), "taking " + std::to_string(bytes) + " bytes");
  }
  ~Memory() { gpu::free(data_, machine_.stream); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  uint64_t bytes() const { return bytes_; }
  void fill_with(int byte) const { expect(gpu::fill(data_, byte, bytes_, machine_.stream), "filling"); }

  // The first bytes; waits.
  void write(const void* values, uint64_t bytes) const {
    void* pinned = nullptr;
    expect(alloc_pinned(&pinned, bytes), "page-locked memory");
    std::memcpy(pinned, values, bytes);
    expect(copy_to_device(data_, pinned, bytes, machine_.stream), "sending");
    expect(wait(machine_.stream), "sending");
    free_pinned(pinned);
  }

  template <typename T>
  std::vector<T> read(uint64_t first, uint64_t count) const {
    std::vector<T> values(count);
    void* pinned = nullptr;
    expect(alloc_pinned(&pinned, count * sizeof(T)), "page-locked memory");
    expect(copy_to_host(pinned, as<T>() + first, count * sizeof(T), machine_.stream), "reading");
    expect(wait(machine_.stream), "reading");
    std::memcpy(values.data(), pinned, count * sizeof(T));
    free_pinned(pinned);
    return values;
  }

 private:
  const Machine& machine_;
  void* data_ = nullptr;
  uint64_t bytes_;
};

// Random bf16 that repeat after a prime number of elements: no two rows of a matrix are alike, and the host knows each
// value.
class Pattern {
 public:
  Pattern(uint64_t seed, float size) {
    test::SplitMix64 random(seed);
    for (bf16& v : values_) v = to_bf16(size * (static_cast<float>(random.bits() >> 40) * 0x1p-23f - 1));
  }
  double at(int64_t i) const { return to_float(values_[static_cast<size_t>(i) % kPeriod]); }

  std::unique_ptr<Memory> on_device(const Machine& machine, int64_t elements) const {
    auto memory = std::make_unique<Memory>(machine, static_cast<uint64_t>(elements) * sizeof(bf16));
    const uint64_t first = std::min<uint64_t>(kPeriod, static_cast<uint64_t>(elements)) * sizeof(bf16);
    memory->write(values_.data(), first);
    for (uint64_t done = first; done < memory->bytes(); done *= 2) {
      expect(copy_on_device(memory->as<char>() + done, memory->as<char>(), std::min(done, memory->bytes() - done),
                            machine.stream),
             "repeating");
    }
    return memory;
  }

 private:
  static constexpr uint64_t kPeriod = 524287;
  std::vector<bf16> values_ = std::vector<bf16>(kPeriod);
};

template <typename T>
std::unique_ptr<Memory> on_device(const Machine& machine, const std::vector<T>& values) {
  auto memory = std::make_unique<Memory>(machine, values.size() * sizeof(T));
  memory->write(values.data(), values.size() * sizeof(T));
  return memory;
}

// Float32 vectors (norm weights, biases, logits) with a pattern's values.
inline std::unique_ptr<Memory> floats_on_device(const Machine& machine, const Pattern& pattern, int64_t count) {
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(static_cast<float>(pattern.at(i)));
  return on_device(machine, values);
}

// How many operands of so many bytes take turns.
inline int buffers_for(const Machine& machine, double bytes) {
  return static_cast<int>(std::min<uint64_t>(64, 1 + machine.rotated_bytes() / static_cast<uint64_t>(bytes)));
}

using Buffers = std::vector<std::unique_ptr<Memory>>;

inline Buffers filled(const Machine& machine, const Pattern& pattern, int buffers, int64_t elements) {
  Buffers all;
  for (int i = 0; i < buffers; ++i) all.push_back(pattern.on_device(machine, elements));
  return all;
}

// Poisoned: what nobody writes stays a NaN.
inline Buffers unwritten(const Machine& machine, int buffers, int64_t bytes) {
  Buffers all;
  for (int i = 0; i < buffers; ++i) {
    all.push_back(std::make_unique<Memory>(machine, static_cast<uint64_t>(bytes)));
    all.back()->fill_with(0xff);
  }
  return all;
}

// ---- Timing ----

struct Times {
  double median = 0, spread = 0;  // seconds of one launch; half the distance of the quartiles
};

// `enqueue(i)`: the i-th launch, on buffers i modulo however many there are.
inline Times timed(const Machine& machine, int buffers, const std::function<void(int)>& enqueue) {
  Event from = nullptr, to = nullptr;
  expect(create_event(&from, true), "event");
  expect(create_event(&to, true), "event");
  const auto seconds_of = [&](const std::function<void()>& work) {
    expect(record(from, machine.stream), "event");
    work();
    expect(record(to, machine.stream), "event");
    expect(wait_for(to), "waiting");
    float milliseconds = 0;
    expect(elapsed(from, to, &milliseconds), "elapsed");
    return static_cast<double>(milliseconds) / 1e3;
  };
  const auto once = [&] {
    for (int i = 0; i < buffers; ++i) enqueue(i);
  };
  once();
  const double guess = seconds_of(once) / buffers;
  // A graph of some 10 ms, and whole turns of the buffers.
  const int turns = machine.tiny ? 1 : std::clamp(static_cast<int>(0.01 / guess / buffers), 1, 512 / buffers + 1),
            launches = turns * buffers;
  Graph graph = nullptr;
  expect(begin_capture(machine.stream), "recording");
  for (int i = 0; i < launches; ++i) enqueue(i % buffers);
  expect(end_capture(machine.stream, &graph), "recording");
  const auto all = [&] { expect(run_graph(graph, machine.stream), "running a graph"); };
  seconds_of(all);
  std::vector<double> times;
  double total = 0;
  while (times.size() < (machine.tiny ? 1u : 7u) || (!machine.tiny && total < 0.25 && times.size() < 50)) {
    const double seconds = seconds_of(all);
    times.push_back(seconds / launches);
    total += seconds;
  }
  destroy_graph(graph);
  destroy_event(from);
  destroy_event(to);
  std::sort(times.begin(), times.end());
  const size_t n = times.size();
  return {times[n / 2], (times[n * 3 / 4] - times[n / 4]) / 2};
}

constexpr int kNoOp = -1;  // several at once, or none of the table's

struct Line {
  std::string name;
  int op;             // nvlm_op
  const char* bound;  // "memory", "product", "attention", "latency": which ceiling
  Times times;
  double flops, bytes;
};

// What is wrong first; empty: nothing. A NaN is wrong.
class Difference {
 public:
  void add(double got, double expected, double limit, int64_t row, int64_t column) {
    ++count_;
    if (std::abs(got - expected) <= limit || !words_.empty()) return;
    char text[160];
    std::snprintf(text, sizeof text, "[%lld, %lld]: expected %g within %g but got %g", static_cast<long long>(row),
                  static_cast<long long>(column), expected, limit, got);
    words_ = text;
  }
  // Throws what is wrong, behind `against`.
  void expect_none(const std::string& against = "") const {
    const std::string words = count_ == 0 ? "nothing was compared" : words_;
    if (!words.empty()) throw std::runtime_error(against + words);
  }

 private:
  int count_ = 0;
  std::string words_;
};

constexpr double kHalfUlp = 0x1p-8 * 1.01;  // of bf16, relative
// Sums of k products in float32, rounded or cut at each step of 16: (k / 16 + 17) * 2^-23 of what has been summed so
// far, whose size is about the root of the sum of squares; three times that for the longest k here.
constexpr double kSums = 1e-3;

inline double bf16_at(const Memory& memory, int64_t i) {
  return to_float(memory.read<bf16>(static_cast<uint64_t>(i), 1)[0]);
}

inline int64_t sampled(int64_t i, int64_t count) {
  return count <= 1 ? 0 : (i * 7919 + (i % 2 ? count - 1 : 0)) % count;
}

}  // namespace nvlm::times
