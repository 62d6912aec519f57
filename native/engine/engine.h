// One model, one thread. Everything else talks to it through two queues: commands in, events out. No N-API here.
//
// The engine batches: each turn runs one step with one row of every running answer, filled up with rows of prompts that
// are still being read. A sequence is admitted when self pages for its prompt and maxTokens, and cross pages for its
// images, are free; until then it waits in order.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/event.h"
#include "engine/request.h"
#include "model/model.h"

namespace nvlm {

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
