// One request from its submission to its end: how much of the prompt is read, the pages it owns, what it has said.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/detokenizer.h"
#include "engine/event.h"
#include "engine/image_store.h"
#include "engine/request.h"
#include "engine/stop_strings.h"
#include "engine/vocabulary.h"

namespace nvlm {

using Clock = std::chrono::steady_clock;

inline double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

struct Sequence {
  Sequence(uint64_t request_id, Request what, Clock::time_point now)
      : id(request_id), request(std::move(what)), stops(request.stop_strings), stage_began(now) {}

  // Key/value positions that are taken once the last token is sampled (which is never fed).
  int positions() const { return prompt_length + request.max_tokens - 1; }
  // Positions that wait to be fed: the rest of the prompt, or the token sampled last.
  int pending() const { return static_cast<int>(history.size()) - fed; }
  bool reading() const { return fed < prompt_length; }

  const uint64_t id;
  Request request;

  // Of the request's images, in its order; those of `fresh` are still pixels, and are in `images` too.
  std::vector<ImageRef> images;          // [images]
  std::vector<ImageRef> fresh;           // [images given as pixels]
  std::vector<ImageInput> fresh_pixels;  // the same
  Routing routing;

  std::vector<int32_t> self_pages;               // [ceil(positions() / 64)]
  std::vector<int32_t> cross_pages, cross_fill;  // [cross pages of all images], in key order

  int prompt_length = 0;
  std::vector<int32_t> history;  // prompt, then answer
  int fed = 0;                   // positions whose keys and values are written
  int generated = 0;

  StopStrings stops;
  Detokenizer characters;
  Timings timings;
  Clock::time_point stage_began;
};

// Adds the token just sampled. Returns the events it causes; the last of them is a `finish` when the answer has ended.
std::vector<Event> accept(Sequence& sequence, const nvlm_sampled& sampled, const Vocabulary& vocabulary);

}  // namespace nvlm
