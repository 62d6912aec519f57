#include "host/device.h"

#include <cstdlib>
#include <cstring>

#include "platform/memory.h"

namespace nvlm::host {
namespace {

// Above this, memory is mapped rather than taken from the heap.
constexpr uint64_t kMapFrom = uint64_t{1} << 20;
constexpr uint64_t kAlignment = 64;

uint64_t rounded(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

nvlm_status Device::fail(nvlm_status status, const std::string& message) {
  error = message;
  return status;
}

nvlm_status Device::take(uint64_t bytes, void** memory) {
  const uint64_t some = bytes ? bytes : 1;
  *memory = some >= kMapFrom ? map_anonymous(some) : std::aligned_alloc(kAlignment, rounded(some));
  if (!*memory) return fail(NVLM_OUT_OF_MEMORY, "the system refused " + std::to_string(bytes) + " bytes");
  used += bytes;
  return NVLM_OK;
}

nvlm_status Device::take_zeroed(uint64_t bytes, void** memory) {
  const nvlm_status status = take(bytes, memory);
  if (status == NVLM_OK && bytes < kMapFrom) std::memset(*memory, 0, bytes);  // mapped memory is zero already
  return status;
}

void Device::give(void* memory, uint64_t bytes) {
  if (!memory) return;
  used -= bytes;
  if (bytes >= kMapFrom) {
    unmap(memory, bytes);
  } else {
    std::free(memory);
  }
}

}  // namespace nvlm::host
