// Which request does what next. Used by the engine's thread alone.
//
// A turn: end what was cancelled; encode one image that waits for a handle; admit requests in their order while their
// pages are free (no more than one of them with images to encode, so that running answers never wait for two); then one
// decoder step with one row of every answer, then prompts in their order.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "engine/batch_builder.h"
#include "engine/cancellation.h"
#include "engine/engine.h"
#include "engine/event.h"
#include "engine/image_store.h"
#include "engine/page_pool.h"
#include "engine/request.h"
#include "engine/sequence.h"
#include "image/cut_tiles.h"
#include "platform/error.h"

namespace nvlm {

class Scheduler {
 public:
  // emit: as Engine::Sink. All references must outlive the scheduler.
  Scheduler(Model& model, Cancellation& cancellation, ParallelFor parallel_for, std::function<void(Event)> emit);

  void set_vocabulary(Vocabulary vocabulary) { vocabulary_ = std::move(vocabulary); }
  void submit(uint64_t id, Request request, Clock::time_point now);
  void encode(uint64_t id, const ImageInput& image, const std::vector<std::vector<int32_t>>& tile_tags,
              Clock::time_point now);
  void release(uint64_t handle) { images_.release(handle); }

  bool idle() const { return waiting_.empty() && running_.empty() && encoding_.empty(); }
  void turn();
  // Ends every request there is with this error.
  void end_all(const Error& error);

  Stats stats() const;

 private:
  using SequencePtr = std::unique_ptr<Sequence>;

  struct EncodeJob {
    uint64_t id;
    ImageInput pixels;
    ImageRef image;
    Clock::time_point submitted;
  };

  // A sequence's part of a step.
  struct Share {
    Sequence* sequence;
    int rows;
    bool samples;  // the rows are its last pending ones: the next token is sampled from the last of them
  };

  int context() const;  // positions of one sequence
  void check_fits(const Sequence& sequence, const std::vector<int32_t>& cross_count) const;

  void end_cancelled();
  void encode_one();
  void admit();
  void step();

  // Stages of admission: pages (false: not enough are free yet), then images encoded and projected.
  bool reserve(Sequence& sequence);
  void prepare(Sequence& sequence);
  std::vector<uint8_t> cut(uint64_t id, const std::vector<ImageInput>& pixels, Timings& timings);
  void run_encoder(const std::vector<ImageRef>& images, const std::vector<uint8_t>& tiles, Timings& timings);

  // Stages of a step: every sequence's rows, then each sampled token (false: it ended its request).
  std::vector<Share> fill_batch();
  bool take(Sequence& sequence, const nvlm_sampled& sampled);

  // Runs something that may throw; false: it threw, and the request has been ended with that error.
  bool guarded(uint64_t id, const std::function<void()>& action);
  void fail(uint64_t id, const Error& error);
  void give_back(Sequence& sequence);
  void end(Sequence& sequence);  // pages and id; the caller has sent the last event and drops the sequence

  Model& model_;
  Cancellation& cancellation_;
  ParallelFor parallel_for_;
  std::function<void(Event)> emit_;
  const int most_running_;
  Vocabulary vocabulary_;
  PagePool self_pages_;
  ImageStore images_;
  BatchBuilder batches_;
  std::deque<EncodeJob> encoding_;
  std::deque<SequencePtr> waiting_;
  std::vector<SequencePtr> running_;  // in order of admission
};

// Runs an action and turns whatever it throws into one Error; nothing escapes.
// Out of memory and unexpected exceptions get a code too: a request's failure must never end the thread.
std::unique_ptr<Error> caught(const std::function<void()>& action);

}  // namespace nvlm
