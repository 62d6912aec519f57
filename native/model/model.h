// A loaded checkpoint on one device: weights, plans and the memory they run in. Used by one thread (the engine's).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/config.h"
#include "ops/ops.h"

namespace nvlm {

struct LoadOptions {
  std::string folder;
  std::string device = "cpu";
  std::string cuda_library;     // file of the CUDA backend; empty: there is none
  std::string instruction_set;  // empty: the best there is
  int threads = 0;              // 0: one per usable core
  int max_tiles = 0;            // of one image, thumbnail not counted; 0: the checkpoint's max_dynamic_patch
  int context_length = 0;       // positions of one sequence; 0: min(max_positions, 8192)
  int max_sequences = 4;        // sequences in one batch; key/value memory is planned for as many full contexts
  int max_images = 4;           // full images of one prompt; cross keys/values and image tokens are planned for them
  // Decoder rows (or cross tokens) of one step at most, longer prompts run in chunks; 0: as the device likes it.
  int step_rows = 0;
};

// Bytes by what they are for. What `load` allocates equals what was planned, `images` apart: it is a budget, filled by
// image tokens as they come.
struct MemoryPlan {
  uint64_t weights = 0, kv_cache = 0, cross_cache = 0, activations = 0, images = 0;
  uint64_t total() const { return weights + kv_cache + cross_cache + activations + images; }
};

struct ParameterCounts {
  uint64_t encoder = 0, projector = 0, decoder = 0, cross_attention = 0;
};

// What can be said of a checkpoint from its config and tensor headers.
struct Description {
  ModelConfig config;
  LoadOptions options;  // as resolved: no zeros left
  MemoryPlan memory;
  ParameterCounts parameters;
  std::string instruction_set;       // of the CPU; empty for other devices
  std::vector<std::string> program;  // the decoder's, a line an op
  uint64_t memory_free = 0;          // of the device, before loading
  std::string fallback;              // device "auto" took the CPU: why, and the mend; else empty
};

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

  // Cuts a picture into tiles on the device: u8 [tiles, side, side, 3] in host memory, byte for byte as image/tiles.h
  // does. False: it is left to the host.
  virtual bool cut(const nvlm_picture& picture, uint8_t* tiles) = 0;
  // Device memory for the tokens of an image: [tiles * tokens_per_tile, hidden] of the device's activations. Throws
  // Error("out-of-memory").
  virtual void* alloc_image(int tiles) = 0;
  virtual void free_image(void* tokens, int tiles) = 0;
  virtual uint64_t image_token_bytes() const = 0;  // of one token
  // tiles: u8 [count, side, side, 3] in host memory, any count; out: device memory of alloc_image.
  virtual void encode(const uint8_t* tiles, int count, void* out, const volatile int32_t* cancel) = 0;

  virtual int self_page_count() const = 0;   // pages of 64 keys in the kv cache
  virtual int cross_page_count() const = 0;  // 0 for D
  // Projects cross tokens (at most options.step_rows; token, source, kv_slot) to keys and values of every cross layer,
  // in cross pages.
  virtual void project_cross(const nvlm_batch& batch, const volatile int32_t* cancel) = 0;
  // One decoder step; at most options.step_rows rows, options.max_sequences outs. `cross`: some row attends to cross
  // pages; otherwise no cross block runs.
  virtual void step(const nvlm_batch& batch, bool cross, const volatile int32_t* cancel) = 0;
  // Logits [outs, vocab] of the last step.
  virtual void read_logits(float* out, int64_t outs) = 0;

  virtual MemoryPlan measured() const = 0;
};

}  // namespace nvlm
