// An open device: its kernels, its threads, and what is allocated on it. Used by one thread at a time.
#pragma once

#include <cstdint>
#include <string>

#include "host/kernels.h"
#include "host/threads.h"
#include "ops/ops.h"

namespace nvlm::host {

struct Device {
  const Kernels* kernels;
  const char* backend_name;
  Threads threads;
  void (*release_pool)(void*);  // nullptr: there is none
  uint64_t used = 0;
  std::string error = {};

  nvlm_status fail(nvlm_status status, const std::string& message);
  // 64-byte aligned; mapped when large. 0 bytes are allowed.
  nvlm_status take(uint64_t bytes, void** memory);
  nvlm_status take_zeroed(uint64_t bytes, void** memory);
  void give(void* memory, uint64_t bytes);  // as they were taken; nullptr is allowed
};

}  // namespace nvlm::host
