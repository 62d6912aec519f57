#include "cuda/device.h"

#include <utility>

nvlm_device::~nvlm_device() {
  if (!stream) return;
  nvlm::gpu::wait(stream);
  staging.close();
  nvlm::gpu::destroy_stream(stream);
  nvlm::gpu::trim();
}

nvlm_status nvlm_device::check(nvlm::gpu::Status status, const char* doing) {
  if (status == nvlm::gpu::Status::ok) return NVLM_OK;
  error = std::string(doing) + ": " + nvlm::gpu::message();
  return status == nvlm::gpu::Status::out_of_memory ? NVLM_OUT_OF_MEMORY : NVLM_DEVICE_FAILED;
}

nvlm_status nvlm_device::refuse(nvlm_status status, std::string words) {
  error = std::move(words);
  return status;
}

nvlm_status nvlm_device::take(uint64_t bytes, void** address) {
  const nvlm::gpu::Status status = nvlm::gpu::alloc(address, bytes, stream);
  if (status != nvlm::gpu::Status::ok) return check(status, ("taking " + std::to_string(bytes) + " bytes").c_str());
  memory[static_cast<const unsigned char*>(*address)] = bytes;
  used += bytes;
  return NVLM_OK;
}

void nvlm_device::give(void* address) {
  const auto found = memory.find(static_cast<const unsigned char*>(address));
  if (found == memory.end()) return;
  used -= found->second;
  memory.erase(found);
  nvlm::gpu::free(address, stream);
}

bool nvlm_device::owns(const void* address) const {
  const auto* at = static_cast<const unsigned char*>(address);
  auto next = memory.upper_bound(at);
  if (next == memory.begin()) return false;
  const auto& [begin, bytes] = *--next;
  return at < begin + bytes;
}
