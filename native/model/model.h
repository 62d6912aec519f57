// A loaded checkpoint on one device: weights, plans and the memory they run in. Used by one thread (the engine's).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "model/description.h"
#include "ops/ops.h"

namespace nvlm {

class Model {
 public:
  // Reads config and headers, plans the memory; loads nothing.
  static Description describe(const LoadOptions& options);

  // Plans, compares with the device's free memory (Error "out-of-memory" with the numbers and what would fit), maps,
  // packs, compiles. progress(done bytes, total bytes) is called per tensor; *cancel != 0 stops with Error("aborted").
  static std::unique_ptr<Model> load(const LoadOptions& options,
                                     const std::function<void(uint64_t, uint64_t)>& progress,
                                     const volatile int32_t* cancel);
  virtual ~Model() = default;

  virtual const Description& description() const = 0;
  const ModelConfig& config() const { return description().config; }

  // Cuts a picture into tiles on the device: u8 [tiles, side, side, 3] in host memory, byte for byte as
  // image/cut_tiles.h does. False: it is left to the host.
  virtual bool cut_tiles(const nvlm_picture& picture, uint8_t* tiles) = 0;
  // Device memory for the tokens of an image: [tiles * tokens_per_tile, hidden] of the device's activations. Throws
  // Error("out-of-memory").
  virtual void* alloc_image(int tiles) = 0;
  virtual void free_image(void* tokens, int tiles) = 0;
  virtual uint64_t image_token_bytes() const = 0;  // of one token
  // tiles: u8 [count, side, side, 3] in host memory, any count; out: device memory [count * tokens_per_tile, hidden].
  virtual void encode(const uint8_t* tiles, int count, void* out, const volatile int32_t* cancel) = 0;

  virtual int self_page_count() const = 0;   // pages of 64 keys in the kv cache
  virtual int cross_page_count() const = 0;  // 0 for D
  // Projects cross tokens (at most options.step_rows; token, source, kv_slot) to keys and values of every cross layer,
  // in cross pages.
  virtual void project_cross(const nvlm_batch& batch, const volatile int32_t* cancel) = 0;
  // One decoder step; at most options.step_rows rows, options.max_sequences outs. `cross`: some row attends to cross
  // pages; otherwise no cross block runs.
  virtual void step(const nvlm_batch& batch, bool cross, const volatile int32_t* cancel) = 0;
  // Logits [outs, vocab] of the last step: what the tests hold to the reference.
  virtual void read_logits(float* out, int64_t outs) = 0;

  virtual MemoryUse measured() const = 0;
};

}  // namespace nvlm
