// A step's arrays on the device, always at the same addresses, so that graphs can hold them. Two page-locked images of
// the block take turns, so that the host can prepare a step while the one before it is still on its way.
#pragma once

#include <cstdint>
#include <string>

#include "cuda/op.h"

namespace nvlm::gpu {

// The most that any batch of a plan brings.
struct BatchLimits {
  int64_t tiles = 0, rows = 0, outs = 0;
  int64_t tile_bytes = 0;                                   // pixels of one tile
  int64_t self_pages = 0, cross_pages = 0;                  // entries of the page lists, over all sequences
  int64_t history = 0;                                      // ids, over all outs
  int32_t self_rows_per_tile = 0, cross_rows_per_tile = 0;  // 0: the plan has no such attention
};

class BatchBlock {
 public:
  BatchBlock() = default;
  ~BatchBlock();
  BatchBlock(const BatchBlock&) = delete;
  BatchBlock& operator=(const BatchBlock&) = delete;

  static uint64_t bytes(const BatchLimits& limits);  // device memory of the block
  // Empty, or what of the batch is longer than the limits.
  static std::string excess(const BatchLimits& limits, const nvlm_batch& batch);
  Status open(const BatchLimits& limits, void* device_memory, Stream stream);

  // Copies the batch (checked before) to the device; `out` holds device addresses. The caller's arrays may go away
  // afterwards.
  Status upload(const nvlm_batch& batch, DeviceBatch* out);
  // Enqueues the way back of what was sampled; after the stream was waited for, `sampled` reads it.
  Status download(int64_t outs);
  const nvlm_sampled* sampled() const { return sampled_; }

 private:
  struct Image {
    unsigned char* pinned = nullptr;
    Event sent = nullptr;
  };
  BatchLimits limits_;
  unsigned char* device_ = nullptr;
  Stream stream_ = nullptr;
  Image images_[2];
  int next_ = 0;
  nvlm_sampled* sampled_ = nullptr;  // page-locked
};

}  // namespace nvlm::gpu
