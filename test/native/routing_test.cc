// What could break: an image in the wrong place, a tile's tag that sees other tiles, text that sees an image behind it.
// The golden masks are held to in golden_test; here stand the rules of spec section 6 by hand, and every way a prepared
// prompt can be wrong.
#include "model/routing.h"

#include "support/check.h"
#include "support/families.h"

using namespace nvlm;

namespace {

ModelConfig config(Family family) {
  ModelConfig c{};
  c.family = family;
  c.vision.image_size = 56;  // 4x4 patches, so 4 tokens a tile
  c.vision.patch = 14;
  c.downsample = 2;
  c.decoder.vocab = 100;
  return c;
}

std::string intervals(const Routing& r) {
  std::string text;
  for (size_t i = 0; i < r.cross_begin.size(); ++i)
    text += std::to_string(r.cross_begin[i]) + "-" + std::to_string(r.cross_end[i]) + " ";
  return text;
}

std::string sources(const Routing& r) {
  std::string text;
  for (const Routing::Source& s : r.sources)
    text += s.image < 0 ? ". " : std::to_string(s.image) + ":" + std::to_string(s.row) + " ";
  return text;
}

const std::vector<std::vector<int32_t>> kTags = {{7, 8}, {7, 9}};

}  // namespace

int main() {
  test::run("D puts every tile in the decoder and attends to nothing across", [] {
    Prompt p;
    p.ids.assign(11, 1);
    p.image_tiles = {2};
    p.slots = {{1, 0, 0}, {6, 0, 1}};
    p.image_ends = {11};
    const Routing r = route(config(test::kNvlmD), p, {0});
    test::equal(sources(r), std::string(". 0:0 0:1 0:2 0:3 . 0:4 0:5 0:6 0:7 . "), "sources");
    test::check(!r.cross, "no cross-attention");
    test::check(cross_tokens(config(test::kNvlmD), 2, kTags).empty(), "no cross tokens");
  });
  test::run("X limits a tag to its tile, and text to the images before it", [] {
    Prompt p;
    p.ids.assign(8, 1);
    p.image_tiles = {2, 1};
    p.tags = {{1, 1, 0, 0}, {2, 2, 0, 1}, {6, 1, 1, 0}};
    p.image_ends = {4, 7};
    const Routing r = route(config(test::kNvlmX), p, {8, 4});
    test::equal(intervals(r), std::string("0-0 0-4 4-8 4-8 0-8 0-8 8-12 0-12 "), "intervals");
    test::check(r.cross, "cross-attention");
    test::equal(cross_tokens(config(test::kNvlmX), 2, {}).size(), size_t{8}, "cross tokens");
  });
  test::run("H keeps the thumbnail in the decoder and puts tags before the tiles' tokens", [] {
    const auto tokens = cross_tokens(config(test::kNvlmH), 3, kTags);
    std::string text;
    for (const CrossToken& t : tokens)
      text += t.token >= 0 ? "<" + std::to_string(t.token) + "> " : std::to_string(t.row) + " ";
    test::equal(text, std::string("<7> <8> 0 1 2 3 <7> <9> 4 5 6 7 "), "cross tokens");
    test::check(cross_tokens(config(test::kNvlmH), 1, kTags).empty(), "an image of one tile has none");
    Prompt p;
    p.ids.assign(6, 1);
    p.image_tiles = {3};
    p.slots = {{1, 0, 2}};
    p.image_ends = {5};
    const Routing r = route(config(test::kNvlmH), p, {12});
    test::equal(sources(r), std::string(". 0:8 0:9 0:10 0:11 . "), "sources");
    test::equal(intervals(r), std::string("0-0 0-0 0-0 0-0 0-0 0-12 "), "intervals");
  });
  test::run("without an image nothing is attended across", [] {
    Prompt p;
    p.ids.assign(3, 1);
    for (const Family family : {test::kNvlmD, test::kNvlmX, test::kNvlmH})
      test::check(!route(config(family), p, {}).cross, "no cross-attention");
  });
  test::run("a prompt that does not fit is refused", [] {
    const auto refused = [](Family family, Prompt p, std::vector<int32_t> counts, const char* why) {
      test::throws("internal", {why}, [&] { route(config(family), p, counts); });
    };
    Prompt ok;
    ok.ids.assign(6, 1);
    ok.image_tiles = {1};
    ok.slots = {{1, 0, 0}};
    ok.image_ends = {6};
    route(config(test::kNvlmD), ok, {0});
    Prompt p = ok;
    p.ids[0] = 100;
    refused(test::kNvlmD, p, {0}, "vocabulary");
    p = ok;
    p.ids[0] = -1;
    refused(test::kNvlmD, p, {0}, "vocabulary");
    p = ok;
    p.slots.clear();
    refused(test::kNvlmD, p, {0}, "no slot");
    p = ok;
    p.slots[0].position = 3;
    refused(test::kNvlmD, p, {0}, "outside of the prompt");
    p = ok;
    p.slots[0].position = -1;
    refused(test::kNvlmD, p, {0}, "outside of the prompt");
    p = ok;
    p.slots[0].tile = 1;
    refused(test::kNvlmD, p, {0}, "out of order");
    p = ok;
    p.slots.push_back({1, 0, 1});
    refused(test::kNvlmD, p, {0}, "more slots");
    p = ok;
    p.image_tiles = {2};
    p.slots = {{1, 0, 0}, {2, 0, 1}};
    refused(test::kNvlmD, p, {0}, "outside of the prompt");
    p = ok;
    p.image_ends = {7};
    refused(test::kNvlmD, p, {0}, "ends outside");
    refused(test::kNvlmD, ok, {}, "differ in number");
    p = ok;
    p.tags = {{0, 1, 0, 0}};
    refused(test::kNvlmD, p, {0}, "does not limit tags");
    Prompt x;
    x.ids.assign(4, 1);
    x.image_tiles = {1};
    x.image_ends = {4};
    for (const Prompt::Tag tag : {Prompt::Tag{3, 2, 0, 0}, {-1, 1, 0, 0}, {0, -1, 0, 0}}) {
      x.tags = {tag};
      refused(test::kNvlmX, x, {4}, "tag lies outside");
    }
    for (const Prompt::Tag tag : {Prompt::Tag{0, 1, 1, 0}, {0, 1, 0, 1}, {0, 1, -1, 0}}) {
      x.tags = {tag};
      refused(test::kNvlmX, x, {4}, "names no tile");
    }
    test::throws("internal", {"no tag"}, [] { cross_tokens(config(test::kNvlmH), 4, kTags); });
  });
  return test::summary();
}
