// Reading the flag that another thread sets to stop a run.
#pragma once

#include <atomic>
#include <cstdint>

namespace nvlm {

// nullptr: cannot be cancelled. The C table carries the flag as a plain integer; it is set and read atomically.
inline bool cancelled(const volatile int32_t* flag) {
  return flag && std::atomic_ref<int32_t>(*const_cast<int32_t*>(flag)).load(std::memory_order_relaxed) != 0;
}

}  // namespace nvlm
