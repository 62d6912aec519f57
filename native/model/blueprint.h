// A checkpoint opened but not loaded: config, weight table, recorded programs, memory plan. `describe` stops here;
// `load` goes on from here.
#pragma once

#include "model/backends.h"
#include "model/checkpoint.h"
#include "model/decoder.h"
#include "model/encoder.h"
#include "model/model.h"
#include "model/program.h"
#include "model/projector.h"
#include "model/status.h"

namespace nvlm {

// One opened device of a backend.
class Device {
 public:
  // What the options mean; where "auto" finds a GPU that turns out not to work, the CPU. Throws
  // Error("device-unavailable").
  explicit Device(const LoadOptions& options) : Device(open(options)) {}
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const BackendChoice choice;
  const nvlm_backend& backend;
  nvlm_device* const handle;

  nvlm_capabilities capabilities() const;
  uint64_t memory_free() const;  // its own, or the host's where it uses that

  // Throws the Error that a status stands for; `doing` completes "… failed while ".
  void check(nvlm_status status, const char* doing) const { check_status(backend, handle, status, doing); }

 private:
  struct Opened {
    BackendChoice choice;
    nvlm_device* handle = nullptr;
  };
  static Opened open(const LoadOptions& options);
  explicit Device(Opened opened) : choice(std::move(opened.choice)), backend(*choice.backend), handle(opened.handle) {}
};

struct Blueprint {
  Blueprint(const LoadOptions& options, Device& device);

  Checkpoint checkpoint;
  ModelConfig config;
  LoadOptions options;  // resolved
  ParameterCounts parameters;
  WeightTable weights;
  nvlm_dtype activations;    // of the device
  Program encode;            // batch.pixels -> image tokens
  Program cross_projection;  // no records for D
  Program decode_text;       // no cross-attention block
  Program decode_cross;      // no records for D
  int32_t encode_tokens;     // tensor of `encode` that holds the image tokens
  int32_t text_logits, cross_logits;
  nvlm_kv_cache self_kv{}, cross_kv{};  // memory not set
  MemoryPlan memory;

  Description describe(const Device& device) const;
  uint64_t arena_bytes() const;
  uint64_t image_bytes(int tiles) const;
  uint64_t token_bytes() const;  // of one image token

 private:
  void plan_memory(const Device& device);
};

}  // namespace nvlm
