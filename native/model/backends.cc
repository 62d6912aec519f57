#include "model/backends.h"

#include <charconv>
#include <cstring>

#include "platform/error.h"

namespace nvlm {
namespace {

constexpr const char* kNoLibrary =
    "This package has no CUDA library for this platform. Install it on Linux x64, or build it from source with the "
    "CUDA toolkit (13.0 or newer) installed, or use device: 'cpu'.";

// The CUDA backend, or null and why.
const nvlm_backend* open_cuda(const std::string& file, std::shared_ptr<DynamicLibrary>* library, std::string* reason) {
  if (file.empty()) {
    *reason = kNoLibrary;
    return nullptr;
  }
  std::string words;
  *library = DynamicLibrary::open(file, &words);
  if (!*library) {
    *reason = "The CUDA library " + file + " could not be opened (" + words +
              "). Install the package again, or use device: 'cpu'.";
    return nullptr;
  }
  const auto get = reinterpret_cast<const nvlm_backend* (*)(void)>((*library)->symbol("nvlm_cuda_backend"));
  const nvlm_backend* backend = get ? get() : nullptr;
  if (backend && backend->version == NVLM_BACKEND_VERSION) return backend;
  *reason = "The CUDA library " + file + " has " +
            (backend ? "interface " + std::to_string(backend->version) : "no interface") + ", but " +
            std::to_string(NVLM_BACKEND_VERSION) +
            " is needed. Install library and addon of the same version, or use device: 'cpu'.";
  library->reset();
  return nullptr;
}

// "cuda" -> 0, "cuda:3" -> 3; -1: another name.
int gpu_number(const std::string& device) {
  if (device == "cuda" || device == "emulator") return 0;
  if (device.rfind("cuda:", 0) != 0) return -1;
  int number = -1;
  const char *first = device.data() + 5, *last = device.data() + device.size();
  const auto [end, error] = std::from_chars(first, last, number);
  return error == std::errc() && end == last && number >= 0 ? number : -1;
}

void put_reason(nvlm_device_description* description, const std::string& reason) {
  std::strncpy(description->reason, reason.c_str(), sizeof description->reason - 1);
}

std::string why_unavailable(const nvlm_backend& backend, int device) {
  nvlm_device_description description{};
  backend.describe(device, &description);
  return description.available ? std::string() : description.reason;
}

DeviceEntry describe_cpu() {
  const nvlm_backend& backend = *nvlm_cpu_backend();
  DeviceEntry entry{"cpu", {}, {}, 0};
  backend.describe(0, &entry.description);
  const nvlm_open_options options{};
  nvlm_device* device = nullptr;
  if (backend.open(&options, &device) != NVLM_OK) {
    entry.description.available = 0;
    put_reason(&entry.description, backend.last_error(nullptr));
    return entry;
  }
  nvlm_capabilities capabilities{};
  backend.capabilities(device, &capabilities);
  entry.instruction_set = capabilities.instruction_set;
  entry.threads = capabilities.threads;
  backend.close(device);
  return entry;
}

}  // namespace

BackendChoice choose_backend(const std::string& device, const std::string& cuda_library) {
  BackendChoice choice;
  choice.backend = nvlm_cpu_backend();
  choice.id = "cpu";
  if (device == "cpu") return choice;
  if (device == "reference") {
    choice.backend = nvlm_reference_backend();
    choice.id = device;
    return choice;
  }
  const bool automatic = device == "auto";
  int number = automatic ? 0 : gpu_number(device);
  if (number < 0)
    throw Error("bad-option", "Expected 'auto', 'cpu', 'cuda' or 'cuda:N' for options.device but received '" + device +
                                  "'. Leave it out for 'auto'.");
  std::string reason;
  const nvlm_backend* cuda = open_cuda(cuda_library, &choice.library, &reason);
  if (cuda) reason = why_unavailable(*cuda, number);
  // "auto" takes the first GPU that can be used; the reason stays that of the first.
  const int count = automatic && cuda ? cuda->device_count() : 0;
  for (int next = 1; !reason.empty() && next < count; ++next) {
    if (!why_unavailable(*cuda, next).empty()) continue;
    number = next;
    reason.clear();
  }
  if (cuda && reason.empty()) {
    choice.backend = cuda;
    choice.device = number;
    choice.id = device == "emulator" ? device : "cuda:" + std::to_string(number);
    return choice;
  }
  if (!automatic) throw Error("device-unavailable", reason);
  choice.library.reset();
  choice.fallback = reason;
  return choice;
}

std::vector<DeviceEntry> list_devices(const std::string& cuda_library) {
  std::vector<DeviceEntry> entries{describe_cpu()};
  std::shared_ptr<DynamicLibrary> library;
  std::string reason;
  const nvlm_backend* cuda = open_cuda(cuda_library, &library, &reason);
  const int count = cuda ? cuda->device_count() : 0;
  for (int i = 0; i < count; ++i) {
    entries.push_back({"cuda:" + std::to_string(i), {}, {}, 0});
    cuda->describe(i, &entries.back().description);
  }
  if (count > 0) return entries;
  entries.push_back({"cuda", {}, {}, 0});
  nvlm_device_description& none = entries.back().description;
  if (cuda) {
    cuda->describe(0, &none);
  } else {
    put_reason(&none, reason);
  }
  return entries;
}

}  // namespace nvlm
