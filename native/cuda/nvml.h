// NVML, the management library that comes with the NVIDIA driver: it tells a GPU's free memory without a CUDA context.
// A context takes hundreds of MiB of its GPU until the process ends, so that a service that only lists devices would
// take them on every GPU.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "cuda/gpu.h"
#include "platform/dynamic_library.h"

namespace nvlm::gpu {

// Any number of threads may ask at once.
class Nvml {
 public:
  explicit Nvml(const std::string& file);
  // Bytes. Nothing: NVML is missing or fails, or its number is not this device's.
  std::optional<uint64_t> free_memory(const DeviceInfo& device) const;

 private:
  using Handle = struct nvmlDevice_st*;
  struct Memory {  // nvmlMemory_t, in bytes
    unsigned long long total, free, used;
  };
  std::shared_ptr<DynamicLibrary> library_;  // null: it is missing, or one of these functions
  int (*init_)() = nullptr;
  int (*shutdown_)() = nullptr;
  int (*find_)(const char* pci_address, Handle* handle) = nullptr;
  int (*memory_)(Handle handle, Memory* memory) = nullptr;
};

// Free bytes of device `index`, which `device` describes: from NVML, or where that can't tell from CUDA, which makes a
// context.
Status free_memory(int index, const DeviceInfo& device, uint64_t* bytes);

}  // namespace nvlm::gpu
