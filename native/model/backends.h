// Which backend a device name means: "cpu", "cuda", "cuda:1", "auto", and for tests "reference" and "emulator".
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ops/ops.h"
#include "platform/dynamic_library.h"

namespace nvlm {

struct BackendChoice {
  const nvlm_backend* backend = nullptr;
  int device = 0;                           // which of the backend's
  std::string id;                           // "cpu", "reference", "cuda:0", "emulator"
  std::shared_ptr<DynamicLibrary> library;  // keeps a backend that was opened at run time
  std::string fallback;                     // "auto" took the CPU: why, and what to do; else empty
};

// `cuda_library`: the file of the CUDA backend, or of the emulator; empty: there is none. Throws Error("bad-option")
// for an unknown name, Error("device-unavailable") with the reason and the fix for a device that was asked for and
// can't be used.
BackendChoice choose_backend(const std::string& device, const std::string& cuda_library);

// A device that this machine has or could have.
struct DeviceEntry {
  std::string id;  // what `device` takes
  nvlm_device_description description{};
  std::string instruction_set;  // of the CPU; else empty
  int threads = 0;              // of the CPU; else 0
};
// The CPU, then every GPU; when there is none, one entry "cuda" that says why.
std::vector<DeviceEntry> list_devices(const std::string& cuda_library);

}  // namespace nvlm
