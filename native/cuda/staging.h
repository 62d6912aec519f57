// Copies between ordinary host memory and the device, through two page-locked buffers in turn: one is filled while the
// other travels.
#pragma once

#include <cstdint>
#include <functional>

#include "cuda/gpu.h"

namespace nvlm::gpu {

class Staging {
 public:
  static constexpr uint64_t kBytes = uint64_t{8} << 20;  // of one buffer: enough for a copy to run at full speed

  Staging() = default;
  ~Staging() { close(); }
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  // `stream` must outlive this, or `close` come first.
  Status open(Stream stream);
  void close();

  // fill(pinned, offset, bytes) writes bytes [offset, offset + bytes) of what is to stand at `device`; pieces are
  // multiples of `unit` bytes. What `fill` reads may go away when this returns; the copy itself may still be on its
  // way.
  Status send(void* device, uint64_t bytes, uint64_t unit,
              const std::function<void(unsigned char* pinned, uint64_t offset, uint64_t bytes)>& fill);
  Status send(void* device, const void* host, uint64_t bytes);
  // Waits until the bytes are in `host`.
  Status fetch(void* host, const void* device, uint64_t bytes);

 private:
  struct Buffer {
    unsigned char* pinned = nullptr;
    Event sent = nullptr;  // its last copy has happened
  };
  Stream stream_ = nullptr;
  Buffer buffers_[2];
  int next_ = 0;
};

}  // namespace nvlm::gpu
