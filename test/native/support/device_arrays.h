// Operands of a kernel test on the emulated device: upload through pinned memory, poisoned outputs, comparison element
// by element.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "cuda/bf16.h"
#include "cuda/gpu.h"
#include "emulator/control.h"
#include "support/check.h"

namespace nvlm::test {

inline void expect_ok(gpu::Status status, const std::string& what) {
  if (status != gpu::Status::ok) check(false, what + ": " + gpu::message());
}

// Device memory of `count` elements, filled with bytes 0xff (NaN in every float type) unless values are given.
template <typename T>
class DeviceArray {
 public:
  DeviceArray(size_t count, gpu::Stream stream) : count_(count), stream_(stream) {
    void* memory = nullptr;
    expect_ok(gpu::alloc(&memory, bytes(), stream), "alloc");
    data_ = static_cast<T*>(memory);
    expect_ok(gpu::fill(data_, 0xff, bytes(), stream), "fill");
  }
  DeviceArray(const std::vector<T>& values, gpu::Stream stream) : DeviceArray(values.size(), stream) {
    void* pinned = nullptr;
    expect_ok(gpu::alloc_pinned(&pinned, bytes()), "alloc_pinned");
    if (!values.empty()) std::memcpy(pinned, values.data(), values.size() * sizeof(T));
    expect_ok(gpu::copy_to_device(data_, pinned, values.size() * sizeof(T), stream), "copy_to_device");
    expect_ok(gpu::wait(stream), "wait");
    expect_ok(gpu::free_pinned(pinned), "free_pinned");
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() {
    gpu::free(data_, stream_);
    gpu::wait(stream_);
  }
  T* get() const { return data_; }
  size_t count() const { return count_; }

  std::vector<T> read() const {
    std::vector<T> values(count_);
    void* pinned = nullptr;
    expect_ok(gpu::alloc_pinned(&pinned, bytes()), "alloc_pinned");
    expect_ok(gpu::copy_to_host(pinned, data_, count_ * sizeof(T), stream_), "copy_to_host");
    expect_ok(gpu::wait(stream_), "wait");
    if (count_ > 0) std::memcpy(values.data(), pinned, count_ * sizeof(T));
    expect_ok(gpu::free_pinned(pinned), "free_pinned");
    return values;
  }

 private:
  uint64_t bytes() const { return count_ ? count_ * sizeof(T) : sizeof(T); }
  T* data_ = nullptr;
  size_t count_;
  gpu::Stream stream_;
};

// Normal values, rounded to bf16; every `outlier`-th is 8 times as large.
inline std::vector<gpu::bf16> random_bf16(std::mt19937_64& random, size_t count, float size = 1, int outlier = 37) {
  std::normal_distribution<float> normal(0, size);
  std::vector<gpu::bf16> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = gpu::to_bf16(normal(random) * (random() % outlier == 0 ? 8.0f : 1.0f));
  return values;
}

inline std::vector<float> random_floats(std::mt19937_64& random, size_t count, float mean = 0, float size = 1) {
  std::normal_distribution<float> normal(mean, size);
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

// |got − expected| ≤ limit[i] for every element; a NaN fails. Reports the first that is off, its place in a row of
// `cols`, and the worst.
inline bool within(const std::vector<gpu::bf16>& got, const std::vector<double>& expected,
                   const std::vector<double>& limit, size_t cols, const std::string& what,
                   const std::source_location& at = std::source_location::current()) {
  if (got.size() != expected.size()) return report(false, what + ": sizes differ", at);
  size_t bad = 0, first = 0;
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double difference = std::abs(static_cast<double>(gpu::to_float(got[i])) - expected[i]);
    worst = std::max(worst, difference / limit[i]);
    if (difference <= limit[i]) continue;
    if (bad++ == 0) first = i;
  }
  if (bad == 0) return report(true, what, at);
  return report(false,
                what + ": " + std::to_string(bad) + " of " + std::to_string(got.size()) +
                    " elements are off, first row " + std::to_string(first / cols) + " column " +
                    std::to_string(first % cols) + ": expected " + std::to_string(expected[first]) + " within " +
                    std::to_string(limit[first]) + " but got " + std::to_string(gpu::to_float(got[first])) +
                    "; worst " + std::to_string(worst) + " limits",
                at);
}

inline bool same_bits(const std::vector<gpu::bf16>& got, const std::vector<gpu::bf16>& expected, size_t cols,
                      const std::string& what, const std::source_location& at = std::source_location::current()) {
  if (got.size() != expected.size()) return report(false, what + ": sizes differ", at);
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i].bits != expected[i].bits) {
      return report(false,
                    what + ": row " + std::to_string(i / cols) + " column " + std::to_string(i % cols) + ": expected " +
                        std::to_string(gpu::to_float(expected[i])) + " but got " +
                        std::to_string(gpu::to_float(got[i])),
                    at);
    }
  }
  return report(true, what, at);
}

// The emulator anew, `body` with a stream of it, and what it found: no fault, nothing left allocated.
template <typename Body>
void on_device(const emulator::Settings& settings, const std::string& what, const Body& body) {
  emulator::configure(settings);
  gpu::Stream stream = nullptr;
  expect_ok(gpu::create_stream(&stream), "create_stream");
  body(stream);
  gpu::wait(stream);
  gpu::destroy_stream(stream);
  test::equal(emulator::fault(), std::string(), what);
}

}  // namespace nvlm::test
