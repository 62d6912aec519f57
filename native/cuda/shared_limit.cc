#include <map>
#include <mutex>
#include <utility>

#include "cuda/gpu.h"

namespace nvlm::gpu {

// The limit holds for the kernel, not for the launch, and other engines' threads launch it too: it is never lowered,
// since one of them may be about to use it. Nor is it set more often than needed: the driver may wait for copies that
// are on their way.
Status detail::allow_shared(const void* kernel, uint32_t bytes) {
  if (bytes <= kFreeShared) return Status::ok;
  static std::mutex mutex;
  static std::map<std::pair<const void*, int>, uint32_t> allowed;  // by kernel and device
  int device = 0;
  if (const Status status = current_device(&device); status != Status::ok) return status;
  const std::lock_guard lock(mutex);
  uint32_t& most = allowed[{kernel, device}];
  if (bytes <= most) return Status::ok;
  const Status status = set_shared_limit(kernel, bytes);
  if (status == Status::ok) most = bytes;
  return status;
}

}  // namespace nvlm::gpu
