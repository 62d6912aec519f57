// One model, one thread. Everything else talks to it through two queues: commands in, events out. No N-API here.
//
// The engine batches: each turn takes one row of every running sequence and as many rows of prompts still being read as
// a step takes besides, and runs one step.
// A sequence is admitted when self pages for its prompt and maxTokens, and cross pages for its images, are free; until
// then it waits in order.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "model/model.h"
#include "model/routing.h"

namespace nvlm {

// Pixels to be cut into a grid of tiles, or an image encoded before.
struct ImageInput {
  const uint8_t* pixels = nullptr;  // RGB; must stay valid until the `pixels_free` event
  int width = 0, height = 0, columns = 0, rows = 0;
  uint64_t handle = 0;
};

struct Sampling {  // see nvlm_sampling
  float temperature = 0, top_p = 1, min_p = 0, repetition_penalty = 1, presence_penalty = 0, frequency_penalty = 0;
  int top_k = 0, top_logprobs = -1;
  uint64_t seed = 0;
};

struct Request {
  Prompt prompt;  // image_tiles is filled in by the engine
  std::vector<ImageInput> images;
  std::vector<std::vector<int32_t>> tile_tags;  // H: ids of <tile_1>, <tile_2>, …
  int max_tokens = 0;
  std::vector<int32_t> stop_ids;
  std::vector<std::string> stop_strings;  // bytes
  Sampling sampling;
};

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
  uint64_t request = 0;  // 0: the load
  std::string text;      // text: UTF-8, whole characters; error: the message
  std::string code;      // error: its code; finish: "stop" or "length"
  std::vector<int32_t> ids;
  std::vector<Logprob> logprobs;
  int stop_string = -1;  // index of the matched stop string
  int generated = 0;
  uint64_t handle = 0, bytes = 0, loaded = 0, total = 0;
  int tiles = 0;
  Timings timings;
  std::shared_ptr<const Description> description;  // loaded
};

struct Stats {
  MemoryUse memory;  // measured
  int active_requests = 0, images = 0;
  int free_self_pages = 0, free_cross_pages = 0;
  // How often the encoder and the cross projection really ran (tiles; images).
  uint64_t encoded_tiles = 0, cross_projections = 0;
};

class Engine {
 public:
  // Called on the engine's thread; must be quick. Text events of one request may be merged by the receiver.
  using Sink = std::function<void(Event)>;
  using Loader = std::function<std::unique_ptr<Model>(
      const LoadOptions&, const std::function<void(uint64_t, uint64_t)>&, const volatile int32_t*)>;

  // Starts the thread, which loads the model; `loaded` or `error` (request 0) comes first. Tests pass a loader of their
  // own.
  Engine(LoadOptions options, Sink sink, Loader loader = Model::load);
  ~Engine();  // stop()
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Bytes of token id i: bytes[offsets[i], offsets[i + 1]); empty for special tokens. Once, before the first submit.
  void set_vocabulary(std::string bytes, std::vector<int32_t> offsets);
  // Ids of the request, > 0; 0 when the engine has stopped. Every id gets one last event: `finish`, `encoded` or
  // `error`.
  uint64_t submit(Request request);
  uint64_t encode(ImageInput image, std::vector<std::vector<int32_t>> tile_tags);
  void release(uint64_t handle);
  void cancel(uint64_t request);  // 0: the load
  Stats stats() const;
  // The first half of stop(): cancels everything and returns at once, on any thread. After the `closed` event stop()
  // does not wait any more.
  void begin_stop();
  // Cancels everything (events `error` with code "closed"), joins, frees, sends `closed`. Idempotent, any thread but
  // the engine's.
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace nvlm
