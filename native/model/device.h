// One opened device of a backend.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "model/backends.h"
#include "model/load_options.h"

namespace nvlm {

class Device {
 public:
  // What the options mean; where "auto" finds a GPU that turns out not to work, the CPU. Throws
  // Error("device-unavailable").
  explicit Device(const LoadOptions& options) : Device(open(options)) {}
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const BackendChoice choice;
  const nvlm_backend& backend;
  nvlm_device* const handle;

  nvlm_capabilities capabilities() const;
  bool has_own_memory() const { return capabilities().memory_total > 0; }  // else it uses the host's
  uint64_t free_memory() const;                                            // its own, or the host's

  // Throws the Error that a status stands for, with the backend's words and the fix; `doing` completes
  // "… failed while ".
  void check(nvlm_status status, const char* doing) const;

 private:
  struct Opened {
    BackendChoice choice;
    nvlm_device* handle = nullptr;
  };
  static Opened open(const LoadOptions& options);
  explicit Device(Opened opened) : choice(std::move(opened.choice)), backend(*choice.backend), handle(opened.handle) {}
};

}  // namespace nvlm
