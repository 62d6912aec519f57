#include "model/device.h"

#include "platform/error.h"
#include "platform/memory.h"

namespace nvlm {

Device::Opened Device::open(const LoadOptions& options) {
  Opened opened{choose_backend(options.device, options.cuda_library)};
  const auto failure = [&] {
    nvlm_open_options o{};
    o.threads = options.threads;
    o.device = opened.choice.device;
    o.instruction_set = options.instruction_set.empty() ? nullptr : options.instruction_set.c_str();
    return opened.choice.backend->open(&o, &opened.handle) == NVLM_OK
               ? std::string()
               : std::string(opened.choice.backend->last_error(nullptr));
  };
  std::string reason = failure();
  // A GPU that looks usable may still have no memory left, or refuse the first kernel.
  if (!reason.empty() && options.device == "auto" && opened.choice.backend != nvlm_cpu_backend()) {
    opened.choice = choose_backend("cpu", "");
    opened.choice.fallback = reason;
    reason = failure();
  }
  if (!reason.empty()) throw Error("device-unavailable", reason);
  return opened;
}

Device::~Device() { backend.close(handle); }

nvlm_capabilities Device::capabilities() const {
  nvlm_capabilities c{};
  backend.capabilities(handle, &c);
  return c;
}

uint64_t Device::free_memory() const {
  const nvlm_capabilities c = capabilities();
  return c.memory_total > 0 ? c.memory_free : nvlm::free_memory();
}

void Device::check(nvlm_status status, const char* doing) const {
  if (status == NVLM_OK) return;
  if (status == NVLM_CANCELLED)
    throw Error("aborted", std::string("Aborted while ") + doing + ". Ask again if it is still wanted.");
  const std::string words =
      std::string("The ") + backend.name + " backend failed while " + doing + ": " + backend.last_error(handle) + ". ";
  if (status == NVLM_OUT_OF_MEMORY)
    throw Error("out-of-memory", words + "Close other models or programs, or send less at once.");
  if (status == NVLM_DEVICE_FAILED)
    throw Error("device-failed", words +
                                     "End this process and start it anew; if that fails too, check the device "
                                     "(nvidia-smi), or use device: 'cpu'.");
  throw Error("internal", words + "Please report this.");
}

}  // namespace nvlm
