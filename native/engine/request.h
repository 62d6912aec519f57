// What a caller asks of the engine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/routing.h"

namespace nvlm {

// Pixels to be cut into a grid of tiles, or an image encoded before.
struct ImageInput {
  const uint8_t* pixels = nullptr;  // RGB [height, width, 3]; must stay valid until the `pixels_free` event
  int width = 0, height = 0, columns = 0, rows = 0;
  uint64_t handle = 0;
};

struct Sampling {  // see nvlm_sampling
  float temperature = 0, top_p = 1, min_p = 0, repetition_penalty = 1, presence_penalty = 0, frequency_penalty = 0;
  int top_k = 0, top_logprobs = -1;
  uint64_t seed = 0;
};

struct Request {
  Prompt prompt;                                // image_tiles is filled in by the engine
  std::vector<ImageInput> images;               // [images]
  std::vector<std::vector<int32_t>> tile_tags;  // [tiles][ids of "<tile_{k+1}>"], where the family attends to tags
  int max_tokens = 0;
  std::vector<int32_t> stop_ids;
  std::vector<std::string> stop_strings;  // bytes
  Sampling sampling;
};

}  // namespace nvlm
