// A real model that is watched: how often each phase was entered, how often it came to its end, how long the last call took. A call can be held at its door until it is
// cancelled.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>

#include "model/model.h"
#include "ops/cancel.h"

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

class ObservedModel final : public Model {
 public:
  ObservedModel(std::unique_ptr<Model> model, std::shared_ptr<Observations> seen) : model_(std::move(model)), seen_(std::move(seen)) {}

  const Description& description() const override { return model_->description(); }
  bool cut(const nvlm_picture& picture, uint8_t* tiles) override { return model_->cut(picture, tiles); }
  void* alloc_image(int tiles) override { return model_->alloc_image(tiles); }
  void free_image(void* tokens, int tiles) override { model_->free_image(tokens, tiles); }
  void encode(const uint8_t* tiles, int count, void* out, const volatile int32_t* cancel) override {
    watch(seen_->encode, cancel, [&] { model_->encode(tiles, count, out, cancel); });
  }
  uint64_t image_token_bytes() const override { return model_->image_token_bytes(); }
  int self_page_count() const override { return model_->self_page_count(); }
  int cross_page_count() const override { return model_->cross_page_count(); }
  void project_cross(const nvlm_batch& batch, const volatile int32_t* cancel) override {
    watch(seen_->project, cancel, [&] { model_->project_cross(batch, cancel); });
  }
  void step(const nvlm_batch& batch, bool cross, const volatile int32_t* cancel) override {
    if (batch.sequences > seen_->most_sequences) seen_->most_sequences = batch.sequences;
    watch(seen_->step, cancel, [&] { model_->step(batch, cross, cancel); });
  }
  void read_logits(float* out, int64_t outs) override { model_->read_logits(out, outs); }
  MemoryPlan measured() const override { return model_->measured(); }

 private:
  template <typename Call>
  static void watch(Phase& phase, const volatile int32_t* cancel, const Call& call) {
    const int number = ++phase.entered;
    const auto late = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (phase.hold == number && !cancelled(cancel) && std::chrono::steady_clock::now() < late) std::this_thread::yield();
    struct Clock {
      ~Clock() { phase.last = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count(); }
      Phase& phase;
      std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
    } clock{phase};
    call();
    ++phase.completed;
  }

  std::unique_ptr<Model> model_;
  std::shared_ptr<Observations> seen_;
};

}  // namespace nvlm::test
