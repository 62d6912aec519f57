// Requests to the bundled models, made without a tokenizer: text is any ids, images stand where lib/prompt/templates.ts
// would put them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "support/families.h"

namespace nvlm::test {

inline std::string bundled(const std::string& name) {
  return std::string(NVLM_SOURCE_DIR) + "/models/nvlm-tiny-" + name;
}

// `length` ids below the special tokens, others for each seed; greedy at temperature 0.
inline Request text_request(int length, uint64_t seed, float temperature) {
  Request request;
  for (int i = 0; i < length; ++i)
    request.prompt.ids.push_back(static_cast<int32_t>((seed * 31 + static_cast<uint64_t>(i) * 17) % 300));
  request.max_tokens = 24;
  request.sampling.seed = seed;
  request.sampling.temperature = temperature;
  request.sampling.top_k = 40;
  request.sampling.top_logprobs = 2;
  return request;
}

// A picture whose tiles need no resizing, as the bundled models' are 112 pixels wide; each shade gives other pixels.
struct Picture {
  Picture(int wide, int high, int shade)
      : columns(wide), rows(high), pixels(static_cast<size_t>(112 * wide) * static_cast<size_t>(112 * high) * 3) {
    for (size_t i = 0; i < pixels.size(); ++i)
      pixels[i] = static_cast<uint8_t>((i / 7 * static_cast<size_t>(shade) + i % 13 * 5) % 251);
  }
  ImageInput input() const { return {pixels.data(), 112 * columns, 112 * rows, columns, rows, 0}; }
  int tiles() const { return columns * rows > 1 ? columns * rows + 1 : 1; }  // with the thumbnail

  int columns, rows;
  std::vector<uint8_t> pixels;
};

// Appends an image and a few ids of text. Tile tags are any ids; X's limit what their positions see.
inline void add_image(Request& request, const ModelConfig& config, const ImageInput& image, int tiles) {
  Prompt& prompt = request.prompt;
  const auto index = static_cast<int32_t>(request.images.size());
  for (int32_t tile = 0; tile < tiles; ++tile) {
    const auto at = static_cast<int32_t>(prompt.ids.size());
    if (config.family == kNvlmX) {
      prompt.tags.push_back({at, 2, index, tile});
      prompt.ids.insert(prompt.ids.end(), {259, tile % 300});
    } else if (config.family == kNvlmD || tile == tiles - 1) {
      prompt.slots.push_back({at, index, tile});
      prompt.ids.insert(prompt.ids.end(), static_cast<size_t>(config.tokens_per_tile()), 0);
    }
  }
  prompt.ids.push_back(29);
  prompt.image_ends.push_back(static_cast<int32_t>(prompt.ids.size()));
  prompt.ids.insert(prompt.ids.end(), {21, 22, 23, 24});
  request.images.push_back(image);
  while (static_cast<int>(request.tile_tags.size()) < tiles)
    request.tile_tags.push_back({259, static_cast<int32_t>(request.tile_tags.size()) % 300});
}

}  // namespace nvlm::test
