// An open GPU: its stream, its staging buffers, and what is allocated on it. Used by one thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "cuda/gpu.h"
#include "cuda/staging.h"
#include "ops/ops.h"

struct nvlm_device {
  int index = 0;
  nvlm::gpu::DeviceInfo info{};
  nvlm::gpu::Stream stream = nullptr;
  nvlm::gpu::Staging staging;
  std::map<const unsigned char*, uint64_t> memory;  // from alloc: address, bytes
  uint64_t used = 0;
  nvlm_plan* running = nullptr;  // whose results `wait` fetches
  std::string error;

  ~nvlm_device();
  // The runtime's answer as the table's; says in `error` what was being done.
  nvlm_status check(nvlm::gpu::Status status, const char* doing);
  nvlm_status refuse(nvlm_status status, std::string words);
  nvlm_status take(uint64_t bytes, void** address);
  void give(void* address);
  bool owns(const void* address) const;
};
