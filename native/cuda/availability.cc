#include "cuda/availability.h"

namespace nvlm::gpu {
namespace {

constexpr int kDriverVersion = 13000;  // CUDA 13.0, driver 580
constexpr int kOldestMajor = 8;        // kernels are compiled to compute_80 PTX

}  // namespace

int count_devices(std::string* reason) {
  int version = 0, count = 0;
  if (driver_version(&version) != Status::ok || version == 0) {
    *reason = "There is no NVIDIA driver. Install one of version 580 or newer, or use device: 'cpu'.";
  } else if (version < kDriverVersion) {
    *reason = "The NVIDIA driver knows CUDA " + std::to_string(version / 1000) + "." +
              std::to_string(version % 1000 / 10) +
              ", but 13.0 is needed. Install driver 580 or newer, or use device: 'cpu'.";
  } else if (const Status status = device_count(&count);
             status == Status::no_device || (status == Status::ok && count == 0)) {
    *reason =
        "The NVIDIA driver shows no GPU. Check that this process may see one (CUDA_VISIBLE_DEVICES, container "
        "options), or use device: 'cpu'.";
  } else if (status != Status::ok) {
    *reason =
        std::string("The NVIDIA driver failed (") + message() + "). Check it with nvidia-smi, or use device: 'cpu'.";
    count = 0;
  }
  return count;
}

std::string refusal(const DeviceInfo& info, Status status) {
  const std::string name = info.name[0] ? info.name : "The GPU",
                    words = *message() ? std::string(" (") + message() + ")" : std::string();
  if (status == Status::no_kernel) {
    return name + " can't run the kernels of this package" + words +
           ". Install a newer driver, build the package from source with NVLM_CUDA_ARCHS=" +
           std::to_string(info.major) + std::to_string(info.minor) + ", or use device: 'cpu'.";
  }
  if (status == Status::out_of_memory)
    return name + " has no memory left for this process" + words +
           ". Close other programs that use it, or use device: 'cpu'.";
  return name + " could not be set up" + words +
         ". Check it with nvidia-smi, start this process anew, or use device: 'cpu'.";
}

std::string unavailable(int index) {
  std::string reason;
  const int count = count_devices(&reason);
  if (count == 0) return reason;
  if (index < 0 || index >= count) {
    return "There is no GPU " + std::to_string(index) + "; this machine has " + std::to_string(count) +
           ", counted from 0. Choose one of them, or use device: 'cpu'.";
  }
  DeviceInfo info;
  if (device_info(index, &info) != Status::ok)
    return std::string("The NVIDIA driver can't describe the GPU (") + message() +
           "). Check it with nvidia-smi, or use device: 'cpu'.";
  if (info.major < kOldestMajor) {
    return std::string(info.name) + " has compute capability " + std::to_string(info.major) + "." +
           std::to_string(info.minor) + ", but kernels need 8.0 or newer (Ampere). Use device: 'cpu'.";
  }
  return {};
}

}  // namespace nvlm::gpu
