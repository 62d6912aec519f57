// A golden case as the request that lib/ would submit. The prompt's structure is found again in its ids.
#pragma once

#include <algorithm>
#include <vector>

#include "engine/engine.h"
#include "support/golden.h"

namespace nvlm::test {

// `images` keeps the pixels; it must outlive the request.
inline Request golden_request(const GoldenCase& golden, const ModelConfig& config, std::vector<RgbImage>& images) {
  // The golden tokenizer's ids of the marks, each tokenized alone.
  const std::vector<int32_t> image_end = {282, 263, 29}, thumbnail_tag = {259, 281, 280, 29};
  const int32_t pad = 383;
  const auto tile_tag = [](int k) { return std::vector<int32_t>{259, 62, 15 + k, 29}; };

  Request request;
  Prompt& prompt = request.prompt;
  prompt.ids = golden.ids();
  int32_t at = 0;
  const auto find = [&](const std::vector<int32_t>& what) {
    const auto found = std::search(prompt.ids.begin() + at, prompt.ids.end(), what.begin(), what.end());
    if (found == prompt.ids.end()) throw Error("internal", golden.name + ": a mark is missing");
    return static_cast<int32_t>(found - prompt.ids.begin());
  };
  images.clear();
  for (int k = 0; k < golden.images(); ++k) images.push_back(golden.image(k));
  for (int32_t image = 0; image < golden.images(); ++image) {
    const RgbImage& picture = images[static_cast<size_t>(image)];
    const auto [columns, rows] = golden.grid(image);
    request.images.push_back({picture.pixels.data(), picture.width, picture.height, columns, rows, 0});
    const int32_t tiles = columns * rows > 1 && config.use_thumbnail ? columns * rows + 1 : columns * rows;
    for (int32_t tile = 0; tile < tiles; ++tile) {
      if (config.family == Family::H && tile < tiles - 1) continue;
      if (config.family == Family::X) {
        const std::vector<int32_t> tag = tile == tiles - 1 ? thumbnail_tag : tile_tag(tile + 1);
        at = find(tag);
        prompt.tags.push_back({at, static_cast<int32_t>(tag.size()), image, tile});
      } else {
        at = find(std::vector<int32_t>(static_cast<size_t>(config.tokens_per_tile()), pad));
        prompt.slots.push_back({at, image, tile});
        at += config.tokens_per_tile();
      }
    }
    if (config.family != Family::D) at = find(image_end) + static_cast<int32_t>(image_end.size());
    prompt.image_ends.push_back(at);
  }
  for (int k = 1; k <= 6; ++k) request.tile_tags.push_back(tile_tag(k));
  request.max_tokens = static_cast<int>(golden.greedy_ids().size());
  return request;
}

}  // namespace nvlm::test
