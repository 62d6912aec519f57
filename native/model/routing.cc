#include "model/routing.h"

#include <algorithm>

#include "platform/error.h"

namespace nvlm {
namespace {

void require(bool holds, const char* what) {
  if (!holds)
    throw Error("internal",
                std::string("The prepared prompt does not fit the model: ") + what + ". Please report this.");
}

void place_image_tokens(const ModelConfig& config, const Prompt& prompt, Routing& routing) {
  const int32_t per_tile = config.tokens_per_tile();
  const auto positions = static_cast<int32_t>(prompt.ids.size());
  size_t next = 0;
  int32_t free_from = 0;  // slots come in order and never overlap
  for (int32_t image = 0; image < static_cast<int32_t>(prompt.image_tiles.size()); ++image) {
    const TileRange range = tiles_in(config.family.in_sequence, prompt.image_tiles[image]);
    for (int32_t tile = range.begin; tile < range.end; ++tile, ++next) {
      require(next < prompt.slots.size(), "an image tile has no slot");
      const Prompt::Slot& slot = prompt.slots[next];
      require(slot.image == image && slot.tile == tile, "slots are out of order");
      require(slot.position >= free_from && slot.position <= positions - per_tile, "a slot lies outside of the prompt");
      for (int32_t t = 0; t < per_tile; ++t) routing.sources[slot.position + t] = {image, tile * per_tile + t};
      free_from = slot.position + per_tile;
    }
  }
  require(next == prompt.slots.size(), "there are more slots than tiles");
}

}  // namespace

std::vector<CrossToken> cross_tokens(const ModelConfig& config, int32_t tiles,
                                     const std::vector<std::vector<int32_t>>& tile_tags) {
  const int32_t per_tile = config.tokens_per_tile();
  const TileRange range = tiles_in(config.family.cross_attended, tiles);
  const bool tags = config.family.tags_are_attended;  // emb(tag 1), tile 1, emb(tag 2), tile 2, …
  require(!tags || range.end <= static_cast<int32_t>(tile_tags.size()), "a tile has no tag");
  std::vector<CrossToken> tokens;
  const auto add_tag = [&](const std::vector<int32_t>& tag) {
    for (const int32_t id : tag) {
      require(id >= 0 && id < config.decoder.vocab, "a tile tag is outside of the vocabulary");
      tokens.push_back({id, 0});
    }
  };
  for (int32_t tile = range.begin; tile < range.end; ++tile) {
    if (tags) add_tag(tile_tags[tile]);
    for (int32_t t = 0; t < per_tile; ++t) tokens.push_back({-1, tile * per_tile + t});
  }
  return tokens;
}

Routing route(const ModelConfig& config, const Prompt& prompt, const std::vector<int32_t>& cross_count) {
  const auto positions = static_cast<int32_t>(prompt.ids.size());
  const size_t images = prompt.image_tiles.size();
  require(cross_count.size() == images && prompt.image_ends.size() == images, "images and their ends differ in number");
  for (const int32_t id : prompt.ids)
    require(id >= 0 && id < config.decoder.vocab, "a token is outside of the vocabulary");

  Routing routing;
  routing.sources.assign(positions, {-1, 0});
  routing.cross_begin.assign(positions, 0);
  routing.cross_end.assign(positions, 0);
  place_image_tokens(config, prompt, routing);

  // A position attends to all cross tokens of every image that stands before it. Images lie in key order, so that is
  // one interval from 0.
  std::vector<int32_t> cross_start(images + 1, 0);
  for (size_t i = 0; i < images; ++i) {
    const int32_t end = prompt.image_ends[i];
    require(end >= (i == 0 ? 0 : prompt.image_ends[i - 1]) && end <= positions, "an image ends outside of the prompt");
    cross_start[i + 1] = cross_start[i] + cross_count[i];
    std::fill(routing.cross_end.begin() + end, routing.cross_end.end(), cross_start[i + 1]);
  }
  routing.cross = cross_start[images] > 0;

  // The positions of a tile's tag attend to that tile alone, where the family has it so.
  const int32_t per_tile = config.tokens_per_tile();
  require(config.family.tags_limit_attention || prompt.tags.empty(), "its family does not limit tags to tiles");
  for (const Prompt::Tag& tag : prompt.tags) {
    require(tag.image >= 0 && tag.image < static_cast<int32_t>(images) && tag.tile >= 0 &&
                tag.tile < prompt.image_tiles[tag.image],
            "a tag names no tile");
    require(tag.position >= 0 && tag.length >= 0 && tag.position <= positions - tag.length,
            "a tag lies outside of the prompt");
    const int32_t begin = cross_start[tag.image] + tag.tile * per_tile;
    std::fill_n(routing.cross_begin.begin() + tag.position, tag.length, begin);
    std::fill_n(routing.cross_end.begin() + tag.position, tag.length, begin + per_tile);
  }
  return routing;
}

}  // namespace nvlm
