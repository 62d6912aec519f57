#include "cuda/staging.h"

#include <algorithm>
#include <cstring>

namespace nvlm::gpu {

Status Staging::open(Stream stream) {
  stream_ = stream;
  for (Buffer& buffer : buffers_) {
    void* memory = nullptr;
    if (const Status status = alloc_pinned(&memory, kBytes); status != Status::ok) return status;
    buffer.pinned = static_cast<unsigned char*>(memory);
    if (const Status status = create_event(&buffer.sent); status != Status::ok) return status;
  }
  return Status::ok;
}

void Staging::close() {
  for (Buffer& buffer : buffers_) {
    if (buffer.sent) destroy_event(buffer.sent);
    if (buffer.pinned) free_pinned(buffer.pinned);
    buffer = {};
  }
}

Status Staging::send(void* device, uint64_t bytes, uint64_t unit,
                     const std::function<void(unsigned char*, uint64_t, uint64_t)>& fill) {
  const uint64_t piece = std::max(kBytes / unit, uint64_t{1}) * unit;
  for (uint64_t offset = 0; offset < bytes; offset += piece) {
    const uint64_t count = std::min(piece, bytes - offset);
    Buffer& buffer = buffers_[next_];
    next_ ^= 1;
    if (const Status status = wait_for(buffer.sent); status != Status::ok) return status;
    fill(buffer.pinned, offset, count);
    if (const Status status =
            copy_to_device(static_cast<unsigned char*>(device) + offset, buffer.pinned, count, stream_);
        status != Status::ok)
      return status;
    if (const Status status = record(buffer.sent, stream_); status != Status::ok) return status;
  }
  return Status::ok;
}

Status Staging::send(void* device, const void* host, uint64_t bytes) {
  return send(device, bytes, 1, [host](unsigned char* pinned, uint64_t offset, uint64_t count) {
    std::memcpy(pinned, static_cast<const unsigned char*>(host) + offset, count);
  });
}

Status Staging::fetch(void* host, const void* device, uint64_t bytes) {
  for (uint64_t offset = 0; offset < bytes; offset += kBytes) {
    const uint64_t count = std::min(kBytes, bytes - offset);
    Buffer& buffer = buffers_[next_];
    next_ ^= 1;
    if (const Status status = wait_for(buffer.sent); status != Status::ok) return status;
    if (const Status status =
            copy_to_host(buffer.pinned, static_cast<const unsigned char*>(device) + offset, count, stream_);
        status != Status::ok)
      return status;
    if (const Status status = record(buffer.sent, stream_); status != Status::ok) return status;
    if (const Status status = wait_for(buffer.sent); status != Status::ok) return status;
    std::memcpy(static_cast<unsigned char*>(host) + offset, buffer.pinned, count);
  }
  return Status::ok;
}

}  // namespace nvlm::gpu
