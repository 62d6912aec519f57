// A golden case as the request that lib/ would submit.
#pragma once

#include <vector>

#include "engine/engine.h"
#include "support/golden_prompt.h"

namespace nvlm::test {

// `images` keeps the pixels; it must outlive the request.
inline Request golden_request(const GoldenCase& golden, const ModelConfig& config, std::vector<RgbImage>& images) {
  Request request;
  request.prompt = golden_prompt(golden, config);
  images.clear();
  for (int k = 0; k < golden.images(); ++k) images.push_back(golden.image(k));
  for (int32_t image = 0; image < golden.images(); ++image) {
    const RgbImage& picture = images[static_cast<size_t>(image)];
    const auto [columns, rows] = golden.grid(image);
    request.images.push_back({picture.pixels.data(), picture.width, picture.height, columns, rows, 0});
  }
  for (int k = 1; k <= 6; ++k) request.tile_tags.push_back(tile_tag(k));
  request.max_tokens = static_cast<int>(golden.greedy_ids.size());
  return request;
}

}  // namespace nvlm::test
