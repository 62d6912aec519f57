// Which image tokens stand in the decoder's sequence, which are cross-attended, and who sees them (spec section 6), as
// the family says. Pure functions over numbers; no tensors.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config.h"

namespace nvlm {

// A prompt as lib/prompt/templates.ts prepares it. Positions index `ids`.
struct Prompt {
  struct Slot {  // tokens_per_tile positions from `position` hold the tokens of tile `tile` of image `image`
    int32_t position, image, tile;
  };
  struct Tag {  // where tags limit attention: `length` positions from `position` attend to tile `tile` of image `image`
                // alone
    int32_t position, length, image, tile;
  };
  std::vector<int32_t> ids;          // [positions]
  std::vector<int32_t> image_tiles;  // [images], tiles of each, thumbnail included
  std::vector<Slot> slots;           // [tiles in the sequence], ascending
  std::vector<Tag> tags;             // [tags that limit attention]
  std::vector<int32_t> image_ends;   // [images], first position after each image's block
};

// One cross-attended token of an image: an embedding (of a tile's tag) or a row of the image's tokens.
struct CrossToken {
  int32_t token;  // -1: none
  int32_t row;    // valid when token is -1
};

// The cross tokens of one image, in order; empty where none of its tiles is cross-attended.
// tile_tags[k]: ids of "<tile_{k+1}>" tokenized alone, for a family whose tags are attended.
std::vector<CrossToken> cross_tokens(const ModelConfig& config, int32_t tiles,
                                     const std::vector<std::vector<int32_t>>& tile_tags);

struct Routing {
  struct Source {
    int32_t image;  // -1: the position's token is embedded
    int32_t row;    // row of that image's tokens
  };
  std::vector<Source> sources;                  // [positions]
  std::vector<int32_t> cross_begin, cross_end;  // [positions], keys [begin, end) along the sequence's cross pages
  bool cross = false;                           // some position attends to something
};

// cross_count: [images], cross tokens of each. Throws Error("internal") on anything that does not fit the config
// (sizes, order, overlaps).
Routing route(const ModelConfig& config, const Prompt& prompt, const std::vector<int32_t>& cross_count);

}  // namespace nvlm
