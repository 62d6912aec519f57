// A golden case's prompt run by hand: the smallest driver of Model there can be.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "model/model.h"
#include "model/routing.h"
#include "support/golden_prompt.h"

namespace nvlm::test {

// One sequence run by hand: the smallest driver of Model there can be.
class GoldenSequence {
 public:
  GoldenSequence(Model& model, const GoldenCase& golden)
      : model_(model), prompt_(golden_prompt(golden, model.config())) {
    for (int i = 0; i < golden.images(); ++i) {
      const GoldenTensor& tiles = golden["tiles" + std::to_string(i + 1)];
      images_.push_back(model.alloc_image(prompt_.image_tiles[i]));
      model.encode(tiles.u8(), prompt_.image_tiles[i], images_.back(), nullptr);
    }
    std::vector<int32_t> counts;
    for (const int32_t tiles : prompt_.image_tiles) {
      cross_.push_back(cross_tokens(model.config(), tiles,
                                    {tile_tag(1), tile_tag(2), tile_tag(3), tile_tag(4), tile_tag(5), tile_tag(6)}));
      counts.push_back(static_cast<int32_t>(cross_.back().size()));
    }
    routing_ = route(model.config(), prompt_, counts);
    for (size_t i = 0; i < cross_.size(); ++i) project(i);
    const int32_t pages = model.self_page_count();
    for (int32_t p = 0; p < pages; ++p) self_page_.push_back(pages - 1 - p);  // out of order on purpose
  }
  ~GoldenSequence() {
    for (size_t i = 0; i < images_.size(); ++i) model_.free_image(images_[i], prompt_.image_tiles[i]);
  }

  const Prompt& prompt() const { return prompt_; }
  const Routing& routing() const { return routing_; }
  const std::vector<void*>& images() const { return images_; }
  const std::vector<std::vector<CrossToken>>& cross() const { return cross_; }

  // Runs the whole prompt in chunks and returns the logits of its last `outs` rows.
  std::vector<float> prefill(int outs) {
    const auto positions = static_cast<int>(prompt_.ids.size());
    std::vector<float> logits;
    for (int first = 0; first < positions;) {
      int count = std::min(model_.description().options.step_rows, positions - first);
      // The last chunk holds all wanted rows.
      if (positions - first - count > 0 && positions - first - count < outs) count -= outs;
      const bool last = first + count == positions;
      logits = run(std::vector<int32_t>(prompt_.ids.begin() + first, prompt_.ids.begin() + first + count), first,
                   last ? outs : 0);
      first += count;
    }
    return logits;
  }

  // Runs tokens at positions from `first`; those behind the prompt see what its last position sees.
  std::vector<float> run(const std::vector<int32_t>& tokens, int first, int outs) {
    const size_t rows = tokens.size();
    std::vector<const void*> source(rows, nullptr);
    std::vector<int32_t> position, self_begin(rows, 0), self_end, cross_begin, cross_end, out_row;
    std::vector<int64_t> slot;
    for (size_t r = 0; r < rows; ++r) {
      const auto at = static_cast<int32_t>(first + static_cast<int>(r));
      const size_t routed = std::min<size_t>(static_cast<size_t>(at), routing_.sources.size() - 1);
      const Routing::Source s =
          static_cast<size_t>(at) < routing_.sources.size() ? routing_.sources[routed] : Routing::Source{-1, 0};
      if (s.image >= 0) source[r] = token_of(static_cast<size_t>(s.image), s.row);
      position.push_back(at);
      self_end.push_back(at + 1);
      cross_begin.push_back(routing_.cross_begin[routed]);
      cross_end.push_back(routing_.cross_end[routed]);
      slot.push_back(static_cast<int64_t>(self_page_[at / NVLM_PAGE_KEYS]) * NVLM_PAGE_KEYS + at % NVLM_PAGE_KEYS);
    }
    for (int o = 0; o < outs; ++o) out_row.push_back(static_cast<int32_t>(rows) - outs + o);
    const int32_t keys = first + static_cast<int32_t>(rows), pages = (keys + NVLM_PAGE_KEYS - 1) / NVLM_PAGE_KEYS;
    std::vector<int32_t> fill(pages, NVLM_PAGE_KEYS);
    fill.back() = keys - (pages - 1) * NVLM_PAGE_KEYS;
    const int32_t self_begin_of[2] = {0, pages}, row_begin[2] = {0, static_cast<int32_t>(rows)},
                  cross_pages[2] = {0, static_cast<int32_t>(cross_page_.size())};
    nvlm_batch batch{};
    batch.rows = static_cast<int64_t>(rows);
    batch.outs = outs;
    batch.sequences = 1;
    batch.token = tokens.data();
    batch.source = source.data();
    batch.position = position.data();
    batch.kv_slot = slot.data();
    batch.self_begin = self_begin.data();
    batch.self_end = self_end.data();
    batch.cross_begin = cross_begin.data();
    batch.cross_end = cross_end.data();
    batch.row_begin = row_begin;
    batch.self_pages = {self_begin_of, self_page_.data(), fill.data()};
    batch.cross_pages = {cross_pages, cross_page_.data(), cross_fill_.data()};
    batch.out_row = out_row.data();
    model_.step(batch, routing_.cross, nullptr);
    std::vector<float> logits(static_cast<size_t>(outs) * static_cast<size_t>(model_.config().decoder.vocab), NAN);
    if (outs) model_.read_logits(logits.data(), outs);
    return logits;
  }

 private:
  const void* token_of(size_t image, int32_t row) const {
    return static_cast<const char*>(images_[image]) + static_cast<uint64_t>(row) * model_.image_token_bytes();
  }

  void project(size_t image) {
    const std::vector<CrossToken>& tokens = cross_[image];
    for (size_t first = 0; first < tokens.size(); first += NVLM_PAGE_KEYS) {  // a page at a time
      const size_t count = std::min<size_t>(NVLM_PAGE_KEYS, tokens.size() - first);
      const auto page = static_cast<int32_t>(model_.cross_page_count() - 1 - static_cast<int>(cross_page_.size()));
      std::vector<int32_t> token(count);
      std::vector<const void*> source(count, nullptr);
      std::vector<int64_t> slot(count);
      for (size_t t = 0; t < count; ++t) {
        const CrossToken& c = tokens[first + t];
        token[t] = std::max(c.token, 0);
        if (c.token < 0) source[t] = token_of(image, c.row);
        slot[t] = static_cast<int64_t>(page) * NVLM_PAGE_KEYS + static_cast<int64_t>(t);
      }
      nvlm_batch batch{};
      batch.rows = static_cast<int64_t>(count);
      batch.token = token.data();
      batch.source = source.data();
      batch.kv_slot = slot.data();
      model_.project_cross(batch, nullptr);
      cross_page_.push_back(page);
      cross_fill_.push_back(static_cast<int32_t>(count));
    }
  }

  Model& model_;
  Prompt prompt_;
  Routing routing_;
  std::vector<void*> images_;
  std::vector<std::vector<CrossToken>> cross_;
  std::vector<int32_t> self_page_, cross_page_, cross_fill_;
};

}  // namespace nvlm::test
