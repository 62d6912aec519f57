// Cancelling while real kernels compute: in the encoder, in the cross projection, in prefill. What could break: a flag
// that only the next chunk or the next call looks at, pages or image tokens that are not given back, half-written keys
// that a later request reads. How soon is measured in chunks, and in time against the same call left alone.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <thread>

#include "engine/engine.h"
#include "support/bundled_request.h"
#include "support/check.h"
#include "support/event_log.h"
#include "support/families.h"
#include "support/observed_model.h"

using namespace nvlm;
using namespace nvlm::test;

namespace {

struct Rig {
  explicit Rig(const std::string& name) {
    LoadOptions options;
    options.folder = bundled(name);
    options.threads = 2;
    options.max_sequences = 4;
    options.max_images = 16;  // cross pages for an image of many tiles
    engine = std::make_unique<Engine>(
        options, log.sink(),
        [shared = seen](const LoadOptions& o, const auto& progress, const volatile int32_t* cancel) {
          return std::make_unique<ObservedModel>(Model::load(o, progress, cancel), shared);
        });
  }
  const ModelConfig& config() { return log.description()->config; }
  Outcome ask(const Request& request) { return log.wait(engine->submit(request)); }
  uint64_t encode(const Picture& picture) { return engine->encode(picture.input(), tags); }

  std::shared_ptr<Observations> seen = std::make_shared<Observations>();
  EventLog log;
  std::vector<std::vector<int32_t>> tags = std::vector<std::vector<int32_t>>(200, {259, 60});
  std::unique_ptr<Engine> engine;
};

// A request that can be started again and again; `phase` is where it is to be cancelled.
struct Work {
  std::string name;
  Phase Observations::*phase;
  int calls;  // of that phase when nothing cancels
  std::function<uint64_t(Rig&)> start;
};

void same_as_at_start(Rig& rig, const Stats& start, const std::string& what) {
  const Stats stats = rig.engine->stats();
  test::equal(stats.memory.images, start.memory.images, what + ": bytes of image tokens");
  test::equal(stats.images, start.images, what + ": images kept");
  test::equal(stats.free_self_pages, start.free_self_pages, what + ": free pages");
  test::equal(stats.free_cross_pages, start.free_cross_pages, what + ": free cross pages");
  test::equal(stats.active_requests, 0, what + ": active requests");
}

// The engine is as it was, and answers the next request rightly.
void check_recovered(Rig& rig, const Stats& start, const Request& next, const Outcome& expected,
                     const std::string& what) {
  same_as_at_start(rig, start, what);
  const Outcome answer = rig.ask(next);
  check(answer.ids == expected.ids && !answer.ids.empty(),
        what + ": the next answer is right (" + answer.code + " " + answer.message + ")");
  same_as_at_start(rig, start, what + ", then the next");
}

// Cancelled at the door of one of its calls: that call does not come to its end, and none follows.
void check_chunks(Rig& rig, const Work& work, const Request& next, const Outcome& expected) {
  Phase& phase = (*rig.seen).*work.phase;
  const Stats start = rig.engine->stats();
  for (int call = 1; call <= work.calls; call = call * 2 + 1) {
    const std::string what = work.name + ", cancelled in call " + std::to_string(call);
    const int completed = phase.completed, entered = phase.entered;
    phase.hold = entered + call;
    const uint64_t id = work.start(rig);
    while (phase.entered < entered + call && rig.log.now(id).ends == 0) std::this_thread::yield();
    rig.engine->cancel(id);
    const Outcome outcome = rig.log.wait(id);
    test::equal(outcome.code, std::string("aborted"), what + ": " + outcome.message);
    test::equal(outcome.ends, 1, what + ": ends");
    test::equal(phase.entered - entered, call, what + ": calls that began");
    test::equal(phase.completed - completed, call - 1, what + ": calls that came to their end");
    check_recovered(rig, start, next, expected, what);
  }
}

// Cancelled at a quarter of one call's time, in the midst of some kernel: the call must end with that op, one of forty
// and more. Three quarters of its time leave room for the slowest op; one good trial of many is enough, since a busy
// machine may make any of them late.
void check_ops(Rig& rig, const Work& work, const Request& next, const Outcome& expected) {
  const Stats start = rig.engine->stats();
  Phase& phase = (*rig.seen).*work.phase;
  const auto timed = [&](double cancel_after) -> double {
    const int entered = phase.entered;
    const uint64_t id = work.start(rig);
    if (cancel_after > 0) {
      while (phase.entered == entered && rig.log.now(id).ends == 0) std::this_thread::yield();
      const auto then = std::chrono::steady_clock::now() + std::chrono::duration<double, std::milli>(cancel_after);
      while (std::chrono::steady_clock::now() < then) std::this_thread::yield();
      rig.engine->cancel(id);
    }
    const Outcome outcome = rig.log.wait(id);
    if (outcome.handle) rig.engine->release(outcome.handle);
    return phase.last;
  };
  double whole = 1e9, cut = 1e9;
  for (int trial = 0; trial < 5; ++trial) whole = std::min(whole, timed(0));
  for (int trial = 0; trial < 40 && cut > whole * 3 / 4; ++trial) cut = std::min(cut, timed(whole / 4));
  check(cut <= whole * 3 / 4, work.name + ": a call of " + std::to_string(whole) + " ms took " + std::to_string(cut) +
                                  " ms when it was cancelled at a quarter of that");
  check_recovered(rig, start, next, expected, work.name + ", cancelled between ops");
}

}  // namespace

int main() {
  // 3, 15 (as one run of the encoder takes) and 141 tiles. A sanitized build is ten times slower: it takes 36, and H
  // alone, whose code is D's and X's.
  const bool sanitized = std::getenv("NVLM_SANITIZE") != nullptr;
  const Picture small(2, 1, 3), one_run(7, 2, 5), large(sanitized ? 7 : 14, sanitized ? 5 : 10, 7);

  for (const std::string& name : sanitized ? std::vector<std::string>{"h"} : std::vector<std::string>{"d", "x", "h"}) {
    run("bundled model " + name + ": cancelled in any phase, the engine is free at the next op and as it was", [&] {
      Rig rig(name);
      if (!test::equal(rig.log.wait(0).code, std::string("loaded"), "load: " + rig.log.now(0).message)) return;
      const int step_rows = rig.log.description()->options.step_rows;
      Request next = text_request(20, 4, 0.8f);
      add_image(next, rig.config(), small.input(), small.tiles());
      const Outcome expected = rig.ask(next);

      const auto encode = [&](const Picture& picture) { return [&](Rig& r) { return r.encode(picture); }; };
      check_chunks(rig, {"encode", &Observations::encode, 1, encode(large)}, next, expected);
      check_ops(rig, {"encode one run", &Observations::encode, 1, encode(one_run)}, next, expected);
      const auto prefill = [](int length) {
        return [length](Rig& r) {
          Request request = text_request(length, 1, 0);
          request.max_tokens = 1;
          return r.engine->submit(request);
        };
      };
      check_chunks(rig, {"prefill", &Observations::step, 7, prefill(7 * step_rows)}, next, expected);
      check_ops(rig, {"prefill one chunk", &Observations::step, 1, prefill(step_rows)}, next, expected);

      // With an image in the same request: encoder, then prompt.
      Request question = text_request(700, 2, 0);
      add_image(question, rig.config(), one_run.input(), one_run.tiles());
      const auto whole = [&](Rig& r) { return r.engine->submit(question); };
      check_chunks(rig, {"encode in a request", &Observations::encode, 1, whole}, next, expected);
      check_chunks(rig, {"prefill behind an image", &Observations::step, 3, whole}, next, expected);

      if (rig.config().family == kNvlmD) return;
      const Outcome encoded = rig.log.wait(rig.encode(large));
      Request by_handle = text_request(5, 3, 0);
      ImageInput handle;
      handle.handle = encoded.handle;
      add_image(by_handle, rig.config(), handle, large.tiles());
      const int cross_keys = rig.config().family == kNvlmX ? large.tiles() * 16 : (large.tiles() - 1) * (16 + 2);
      const int chunks = (cross_keys + step_rows - 1) / step_rows;
      const uint64_t projections = rig.engine->stats().cross_projections;
      check_chunks(
          rig,
          {"cross projection", &Observations::project, chunks, [&](Rig& r) { return r.engine->submit(by_handle); }},
          next, expected);
      const Outcome answer = rig.ask(by_handle);
      test::equal(answer.code, std::string("length"),
                  "an image whose projection was cancelled is projected anew: " + answer.message);
      const uint64_t again = rig.engine->stats().cross_projections;
      check(again > projections, "projected");
      check(rig.ask(by_handle).ids == answer.ids, "the same answer");
      test::equal(rig.engine->stats().cross_projections, again, "once");
      rig.engine->release(encoded.handle);
      Request fresh = text_request(5, 3, 0);
      add_image(fresh, rig.config(), large.input(), large.tiles());
      check(rig.ask(fresh).ids == answer.ids, "and the answer of the pixels");
    });
  }
  return summary();
}
