// How much memory a model takes on its device, known before anything is loaded.
#pragma once

#include <cstdint>

#include "model/load_options.h"
#include "ops/ops.h"

namespace nvlm {

struct Blueprint;
class Device;

// Bytes by what they are for, as planned or as measured. What `load` allocates equals the plan, `images` apart: that is
// a budget, filled by image tokens as they come.
struct MemoryUse {
  uint64_t weights = 0, kv_cache = 0, cross_cache = 0, activations = 0, images = 0;
  uint64_t total() const { return weights + kv_cache + cross_cache + activations + images; }
};

// Key/value caches without their memory: self for as many full contexts as the options say, cross for as many full
// images (no pages where nothing is cross-attended).
nvlm_kv_cache plan_self_cache(const ModelConfig& config, const LoadOptions& options, nvlm_dtype activations);
nvlm_kv_cache plan_cross_cache(const ModelConfig& config, const LoadOptions& options, nvlm_dtype activations);

MemoryUse plan_memory(const Blueprint& blueprint, const Device& device);

}  // namespace nvlm
