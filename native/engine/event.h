// What the engine tells its caller.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/description.h"
#include "platform/error.h"

namespace nvlm {

struct Timings {  // milliseconds
  double queued = 0, cut_tiles = 0, encode_tiles = 0, prefill = 0, decode = 0;
};

struct Logprob {
  int32_t id;
  float logprob;
  std::vector<std::pair<int32_t, float>> top;
};

struct Event {
  enum class Type { text, finish, encoded, pixels_free, progress, loaded, error, closed } type;
  uint64_t request = 0;                            // 0: the load
  std::string text;                                // text: UTF-8, whole characters; error: the message
  std::string code;                                // error: its code; finish: "stop" or "length"
  std::vector<int32_t> ids;                        // text: [tokens]
  std::vector<Logprob> logprobs;                   // text: [tokens], or empty when none were asked for
  int stop_string = -1;                            // finish: index of the matched stop string
  int generated = 0;                               // finish: tokens
  uint64_t handle = 0, bytes = 0;                  // encoded
  int tiles = 0;                                   // encoded, thumbnail included
  uint64_t loaded = 0, total = 0;                  // progress: bytes
  Timings timings;                                 // finish, encoded
  std::shared_ptr<const Description> description;  // loaded
};

inline Event event_of(Event::Type type, uint64_t request) {
  Event event{};
  event.type = type;
  event.request = request;
  return event;
}

inline Event error_event(uint64_t request, const Error& error) {
  Event event = event_of(Event::Type::error, request);
  event.code = error.code();
  event.text = error.what();
  return event;
}

}  // namespace nvlm
