// Gathers an engine's events and waits for what a test needs. Any thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace nvlm::test {

// All a request came to.
struct Outcome {
  std::string text, code, message;  // code: "stop", "length", "encoded" or the error's
  std::vector<int32_t> ids;
  std::vector<Logprob> logprobs;
  int stop_string = -1, generated = 0, pixels_free = 0, ends = 0;
  uint64_t handle = 0, bytes = 0;
  int tiles = 0;
  Timings timings;
};

class EventLog {
 public:
  Engine::Sink sink() {
    return [this](Event event) { take(std::move(event)); };
  }

  // The outcome once the request (0: the load) has ended; an empty one with the code "timeout" otherwise.
  Outcome wait(uint64_t id, std::chrono::seconds limit = std::chrono::seconds(60)) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, limit, [&] { return outcomes_[id].ends > 0; })) {
      Outcome late;
      late.code = "timeout";
      return late;
    }
    return outcomes_[id];
  }
  Outcome now(uint64_t id) {
    const std::lock_guard lock(mutex_);
    return outcomes_[id];
  }
  bool wait_for_tokens(uint64_t id, size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(60),
                             [&] { return outcomes_[id].ids.size() >= count || outcomes_[id].ends > 0; });
  }
  int closed() {
    const std::lock_guard lock(mutex_);
    return closed_;
  }
  int progress() {
    const std::lock_guard lock(mutex_);
    return progress_;
  }
  std::shared_ptr<const Description> description() {
    const std::lock_guard lock(mutex_);
    return description_;
  }

 private:
  void take(Event event) {
    const std::lock_guard lock(mutex_);
    Outcome& outcome = outcomes_[event.request];
    switch (event.type) {
      case Event::Type::text:
        outcome.text += event.text;
        outcome.ids.insert(outcome.ids.end(), event.ids.begin(), event.ids.end());
        outcome.logprobs.insert(outcome.logprobs.end(), event.logprobs.begin(), event.logprobs.end());
        break;
      case Event::Type::finish:
        outcome.code = event.code;
        outcome.stop_string = event.stop_string;
        outcome.generated = event.generated;
        outcome.timings = event.timings;
        ++outcome.ends;
        break;
      case Event::Type::encoded:
        outcome.code = "encoded";
        outcome.handle = event.handle;
        outcome.bytes = event.bytes;
        outcome.tiles = event.tiles;
        ++outcome.ends;
        break;
      case Event::Type::error:
        outcome.code = event.code;
        outcome.message = event.text;
        ++outcome.ends;
        break;
      case Event::Type::pixels_free: ++outcome.pixels_free; break;
      case Event::Type::loaded:
        outcome.code = "loaded";
        description_ = event.description;
        ++outcome.ends;
        break;
      case Event::Type::progress: ++progress_; break;
      case Event::Type::closed: ++closed_; break;
    }
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<uint64_t, Outcome> outcomes_;
  std::shared_ptr<const Description> description_;
  int closed_ = 0, progress_ = 0;
};

}  // namespace nvlm::test
