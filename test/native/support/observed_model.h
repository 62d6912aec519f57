// A real model that is watched: how often each phase was entered, how often it came to its end, how long the last call
// took. A call can be held at its door until it is cancelled.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>

#include "ops/cancel.h"
#include "support/forwarding_model.h"

namespace nvlm::test {

struct Phase {
  std::atomic<int> entered{0}, completed{0};
  std::atomic<double> last{0};  // milliseconds
  std::atomic<int> hold{0};     // the entry of this number waits for its cancellation
};

struct Observations {
  Phase encode, project, step;
  std::atomic<int> most_sequences{0};  // in one step
};

class ObservedModel final : public ForwardingModel {
 public:
  ObservedModel(std::unique_ptr<Model> model, std::shared_ptr<Observations> seen)
      : ForwardingModel(*model), owned_(std::move(model)), seen_(std::move(seen)) {}

  void encode(const uint8_t* tiles, int count, void* out, const volatile int32_t* cancel) override {
    watch(seen_->encode, cancel, [&] { model_.encode(tiles, count, out, cancel); });
  }
  void project_cross(const nvlm_batch& batch, const volatile int32_t* cancel) override {
    watch(seen_->project, cancel, [&] { model_.project_cross(batch, cancel); });
  }
  void step(const nvlm_batch& batch, bool cross, const volatile int32_t* cancel) override {
    if (batch.sequences > seen_->most_sequences) seen_->most_sequences = batch.sequences;
    watch(seen_->step, cancel, [&] { model_.step(batch, cross, cancel); });
  }

 private:
  template <typename Call>
  static void watch(Phase& phase, const volatile int32_t* cancel, const Call& call) {
    const int number = ++phase.entered;
    const auto late = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (phase.hold == number && !cancelled(cancel) && std::chrono::steady_clock::now() < late)
      std::this_thread::yield();
    struct Clock {
      ~Clock() {
        phase.last = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
      }
      Phase& phase;
      std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
    } clock{phase};
    call();
    ++phase.completed;
  }

  std::unique_ptr<Model> owned_;
  std::shared_ptr<Observations> seen_;
};

}  // namespace nvlm::test
