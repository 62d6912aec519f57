// A checkpoint opened but not loaded: its config, the table of its weights, and the programs recorded from both.
#pragma once

#include <array>
#include <cstdint>

#include "model/checkpoint.h"
#include "model/config.h"
#include "model/description.h"
#include "model/load_options.h"
#include "model/program.h"
#include "model/weights.h"

namespace nvlm {

class Device;

struct Blueprint {
  Blueprint(const LoadOptions& wanted, const Device& device);

  Checkpoint checkpoint;
  ModelConfig config;
  LoadOptions options;  // resolved
  ParameterCounts parameters;
  WeightTable weights;
  nvlm_dtype activations;           // of the device
  nvlm_kv_cache self_kv, cross_kv;  // without their memory
  // Without records where the model has no cross-attention: cross_projection, decode_cross.
  Program encode;            // batch.pixels u8 [tiles, side, side, 3] -> image tokens [tiles * tokens_per_tile, hidden]
  Program cross_projection;  // cross tokens -> keys and values of every cross layer, in cross pages
  Program decode_text;       // no cross-attention block; -> logits f32 [outs, vocab]
  Program decode_cross;      // -> logits f32 [outs, vocab]

  std::array<const Program*, 4> programs() const { return {&encode, &cross_projection, &decode_text, &decode_cross}; }
  uint64_t arena_bytes() const;  // of the largest program: one runs at a time
  uint64_t image_bytes(int tiles) const;
  uint64_t token_bytes() const;  // of one image token
};

}  // namespace nvlm
