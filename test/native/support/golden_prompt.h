// The structure of a golden prompt: image slots, tags and image ends, found again in its ids.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "model/routing.h"
#include "platform/error.h"
#include "support/families.h"
#include "support/golden.h"

namespace nvlm::test {

// The golden tokenizer's ids of the marks, each tokenized alone: "<Image>", "</Image>", "<tile_global_thumbnail>",
// "<tile_k>" with one digit.
inline const std::vector<int32_t> kImageEnd = {282, 263, 29}, kThumbnailTag = {259, 281, 280, 29};
constexpr int32_t kPad = 383;
inline std::vector<int32_t> tile_tag(int k) { return {259, 62, 15 + k, 29}; }

inline int32_t find(const std::vector<int32_t>& ids, const std::vector<int32_t>& what, int32_t from) {
  const auto at = std::search(ids.begin() + from, ids.end(), what.begin(), what.end());
  if (at == ids.end()) throw Error("internal", "a mark of a golden prompt is missing");
  return static_cast<int32_t>(at - ids.begin());
}

// What lib/prompt/templates.ts prepares, found again in the golden ids.
inline Prompt golden_prompt(const GoldenCase& golden, const ModelConfig& config) {
  Prompt p;
  p.ids = golden.ids;
  const int32_t per_tile = config.tokens_per_tile();
  int32_t at = 0;
  for (int32_t image = 0; image < golden.images(); ++image) {
    const auto tiles = static_cast<int32_t>(golden["tiles" + std::to_string(image + 1)].shape[0]);
    p.image_tiles.push_back(tiles);
    for (int32_t tile = 0; tile < tiles; ++tile) {
      if (config.family == kNvlmH && tile < tiles - 1) continue;
      if (config.family == kNvlmX) {
        const std::vector<int32_t> tag = tile == tiles - 1 ? kThumbnailTag : tile_tag(tile + 1);
        at = find(p.ids, tag, at);
        p.tags.push_back({at, static_cast<int32_t>(tag.size()), image, tile});
      } else {
        at = find(p.ids, std::vector<int32_t>(per_tile, kPad), at);
        p.slots.push_back({at, image, tile});
        at += per_tile;
      }
    }
    if (config.family == kNvlmD) {
      p.image_ends.push_back(at);
    } else {
      at = find(p.ids, kImageEnd, at) + static_cast<int32_t>(kImageEnd.size());
      p.image_ends.push_back(at);
    }
  }
  return p;
}

}  // namespace nvlm::test
