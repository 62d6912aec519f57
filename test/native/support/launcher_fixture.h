// A launcher's operands before a test fills them in, and the rounding that its limits are made of.
#pragma once

#include "cuda/op.h"
#include "support/device_arrays.h"

namespace nvlm::test {

// bf16 keeps 8 bits: rounding moves a value by at most 2^-8 of it (half of 2^-7, for a value just above a power of
// two). `terms` float additions add terms * 2^-24 of the sum of magnitudes.
constexpr double kRound = 1.0 / 256, kFloat = 1.0 / (1 << 24);

struct LauncherFixture {
  nvlm_record record{};
  gpu::DeviceBatch batch{};
  gpu::Workspace workspace{};
  gpu::DeviceInfo device{};
  gpu::Op op{};
  explicit LauncherFixture(gpu::Stream stream) {
    gpu::device_info(0, &device);
    op.record = &record, op.batch = &batch, op.workspace = &workspace, op.device = &device, op.stream = stream;
  }
  LauncherFixture(const LauncherFixture&) = delete;
  LauncherFixture& operator=(const LauncherFixture&) = delete;
};

inline gpu::DeviceWeight vector_of(const DeviceArray<float>& v) {
  return {NVLM_VECTOR, false, 1, static_cast<int64_t>(v.count()), static_cast<int64_t>(v.count()), v.get()};
}

}  // namespace nvlm::test
