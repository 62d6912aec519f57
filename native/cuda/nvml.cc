// NVML has no header here: the functions' signatures and the layout of nvmlMemory_t are those of its API reference,
// which the driver keeps for a name once given.
#include "cuda/nvml.h"

#include <algorithm>
#include <cstdio>

namespace nvlm::gpu {
namespace {

#ifdef _WIN32
constexpr const char* kNvml = "nvml.dll";
#else
constexpr const char* kNvml = "libnvidia-ml.so.1";
#endif
constexpr int kSuccess = 0;

template <typename Function>
bool resolve(const DynamicLibrary& library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(library.symbol(name));
  return *function != nullptr;
}

}  // namespace

Nvml::Nvml(const std::string& file) {
  std::string reason;
  library_ = DynamicLibrary::open(file, &reason);
  const bool complete = library_ && resolve(*library_, "nvmlInit_v2", &init_) &&
                        resolve(*library_, "nvmlShutdown", &shutdown_) &&
                        resolve(*library_, "nvmlDeviceGetHandleByPciBusId_v2", &find_) &&
                        resolve(*library_, "nvmlDeviceGetMemoryInfo", &memory_);
  if (!complete) library_.reset();
}

std::optional<uint64_t> Nvml::free_memory(const DeviceInfo& device) const {
  // CUDA numbers the GPUs that this process may see, in an order of its own, and NVML all of them: the address is what
  // both know. GPUs are function 0.
  char address[32];
  std::snprintf(address, sizeof address, "%08x:%02x:%02x.0", static_cast<unsigned>(device.pci_domain),
                static_cast<unsigned>(device.pci_bus), static_cast<unsigned>(device.pci_device));

  // NVML counts these two: shut down after each question, it holds nothing in between, and nothing is left to do when
  // this library is closed.
  if (!library_ || init_() != kSuccess) return std::nullopt;
  Handle handle = nullptr;
  Memory memory{};
  const bool told = find_(address, &handle) == kSuccess && memory_(handle, &memory) == kSuccess;
  shutdown_();
  if (!told) return std::nullopt;

  // A MIG part has the address of its GPU, whose memory this is then. Of that a part has at most half, or all, when it
  // is the only one and the number its own; of a whole GPU, CUDA shows all but a few percent.
  if (device.memory < memory.total / 4 * 3) return std::nullopt;
  // On an idle GPU NVML counts some MiB as free that CUDA does not count at all.
  return std::min<uint64_t>(memory.free, device.memory);
}

Status free_memory(int index, const DeviceInfo& device, uint64_t* bytes) {
  static const Nvml nvml(kNvml);
  if (const std::optional<uint64_t> free = nvml.free_memory(device)) {
    *bytes = *free;
    return Status::ok;
  }
  if (const Status status = use_device(index); status != Status::ok) return status;
  uint64_t total = 0;
  return memory_info(bytes, &total);
}

}  // namespace nvlm::gpu
