// How loads, requests and engines end, over a model without arithmetic (support/fake_model.h). What could break: ends
// that come twice or never, stop strings cut at the wrong byte, one request's failure that takes another along,
// cancelling and destroying at any stage, memory that is not given back.
#include <atomic>
#include <thread>

#include "support/fake_rig.h"
#include "support/families.h"

using namespace nvlm;
using namespace nvlm::test;

int main() {
  run("loading says progress, then what it loaded; closing is the last word and comes once", [] {
    Rig rig;
    ended(rig.log.wait(0), "loaded", "load");
    test::equal(rig.log.progress(), 2, "progress");
    check(rig.log.description() != nullptr, "a description");
    rig.engine->stop();
    rig.engine->stop();
    test::equal(rig.log.closed(), 1, "closed");
    test::equal(rig.engine->submit(text_request(3, 2)), uint64_t{0}, "a stopped engine takes nothing");
    test::equal(rig.engine->encode(picture(1, 1), {}), uint64_t{0}, "nor images");
    test::equal(rig.control->loads_ended.load(), 1, "the model is gone");
  });

  run("stop ids end the answer and are not part of it; stop strings and lengths too", [] {
    const Outcome plain = alone(kNvlmD, text_request(10, 20));
    Rig rig;
    std::string bytes;
    std::vector<int32_t> offsets;
    for (int id = 0; id < FakeModel::kVocab; ++id) {
      offsets.push_back(static_cast<int32_t>(bytes.size()));
      bytes += "<" + std::to_string(id) + ">";
    }
    offsets.push_back(static_cast<int32_t>(bytes.size()));
    rig.engine->set_vocabulary(bytes, offsets);
    Request by_id = text_request(10, 20);
    by_id.stop_ids = {plain.ids[7]};
    const Outcome stopped = rig.log.wait(rig.engine->submit(by_id));
    ended(stopped, "stop", "stop id");
    test::equal(stopped.generated, 7, "generated");
    test::equal(stopped.ids.size(), size_t{7}, "ids");
    Request by_string = text_request(10, 20);
    by_string.stop_strings = {"never",
                              ">"
                              "<" +
                                  std::to_string(plain.ids[5]) + ">"};
    const Outcome cut = rig.log.wait(rig.engine->submit(by_string));
    ended(cut, "stop", "stop string");
    test::equal(cut.stop_string, 1, "which");
    test::equal(cut.generated, 6, "generated");
    std::string text;
    for (int i = 0; i < 5; ++i) text += "<" + std::to_string(plain.ids[static_cast<size_t>(i)]) + ">";
    text.pop_back();
    test::equal(cut.text, text, "text before it");
    Request held = text_request(10, 3);
    held.stop_strings = {
        ">"
        "<never"};
    text = "";
    for (int i = 0; i < 3; ++i) text += "<" + std::to_string(plain.ids[static_cast<size_t>(i)]) + ">";
    test::equal(rig.log.wait(rig.engine->submit(held)).text, text, "what was held back comes at the end");
  });

  run("one request's failure never ends another's; a failed step ends those in it", [] {
    Rig rig({kNvlmX});
    rig.control->fail_encode = true;
    const uint64_t image = rig.engine->submit(image_request(kNvlmX, 2, 1, 3, 4));
    const uint64_t text = rig.engine->submit(text_request(4, 4));
    ended(rig.log.wait(image), "internal", "the image's");
    ended(rig.log.wait(text), "length", "the other's");
    ended(rig.log.wait(rig.engine->encode(picture(1, 1), {})), "internal", "encode");
    rig.control->fail_encode = false;
    rig.control->fail_step = rig.control->steps.load() + 3;
    const Outcome failed = rig.log.wait(rig.engine->submit(text_request(4, 10)));
    ended(failed, "internal", "step");
    check(failed.message.find("planted") != std::string::npos, failed.message);
    rig.control->nan_step = rig.control->steps.load() + 2;
    const Outcome nan = rig.log.wait(rig.engine->submit(text_request(4, 10)));
    ended(nan, "internal", "logits");
    check(nan.message.find("not finite") != std::string::npos, nan.message);
    test::equal(nan.ids.size(), size_t{2}, "tokens before it");
    same(rig.log.wait(rig.engine->submit(text_request(64, 10))), alone(kNvlmD, text_request(64, 10)), "afterwards");
    test::equal(rig.engine->stats().active_requests, 0, "nothing is left");
    test::equal(rig.control->images_alive.load(), 0, "no image is left");
  });

  run("tiles that the device cuts are the host's; a request that fails or is cancelled there ends alone", [] {
    const Outcome expected = alone(kNvlmD, image_request(kNvlmD, 3, 2, 5, 10));
    Rig rig;
    rig.control->cuts = true;
    const Outcome whole = rig.log.wait(rig.engine->submit(image_request(kNvlmD, 3, 2, 5, 10)));
    same(whole, expected, "the same answer");
    test::equal(whole.pixels_free, 1, "pixels are let go once");
    test::equal(rig.control->pictures.load(), 1, "by the device");

    rig.control->fail_cut = true;
    const uint64_t failed = rig.engine->submit(image_request(kNvlmD, 3, 2, 5, 10)),
                   text = rig.engine->submit(text_request(9, 20));
    ended(rig.log.wait(failed), "internal", "failed");
    ended(rig.log.wait(text), "length", "the other");
    rig.control->fail_cut = false;

    rig.control->hold_cut = true;
    const uint64_t cancelled = rig.engine->submit(image_request(kNvlmD, 3, 2, 5, 10)),
                   other = rig.engine->submit(text_request(9, 20));
    check(eventually([&] { return rig.control->inside == 1; }), "inside");
    rig.engine->cancel(cancelled);
    rig.control->hold_cut = false;
    ended(rig.log.wait(cancelled), "aborted", "cancelled");
    ended(rig.log.wait(other), "length", "the other");
    test::equal(rig.control->encodes.load(), 1, "nothing is encoded for those that ended");
    test::equal(rig.control->images_alive.load(), 0, "no image is left");
    same(rig.log.wait(rig.engine->submit(image_request(kNvlmD, 3, 2, 5, 10))), expected, "afterwards");

    rig.control->hold_cut = true;
    const uint64_t last = rig.engine->submit(image_request(kNvlmD, 3, 2, 5, 10));
    check(eventually([&] { return rig.control->inside == 1; }), "inside");
    rig.engine->begin_stop();
    rig.control->hold_cut = false;
    rig.engine->stop();
    ended(rig.log.now(last), "closed", "closed while it cut");
    test::equal(rig.control->images_alive.load(), 0, "no image is left");
  });

  run("cancelling works at every stage, and frees what the request held", [] {
    const auto at_stage = [](std::atomic<bool> FakeControl::*hold, const std::string& stage) {
      Rig rig({kNvlmX});
      rig.log.wait(0);
      (*rig.control).*hold = true;
      const uint64_t id = rig.engine->submit(image_request(kNvlmX, 2, 2, 3, 50));
      check(eventually([&] { return rig.control->inside == 1; }), stage + " is reached");
      rig.engine->cancel(id);
      ended(rig.log.wait(id), "aborted", stage);
      test::equal(rig.control->images_alive.load(), 0, stage + ": image tokens");
      // All pages must be back: four more take every page there is.
      std::vector<uint64_t> ids;
      for (int i = 0; i < 4; ++i) ids.push_back(rig.engine->submit(image_request(kNvlmX, 3, 2, i, 1000)));
      (*rig.control).*hold = false;  // all four are there before the first can end
      for (const uint64_t other : ids) ended(rig.log.wait(other), "length", stage + ": afterwards");
      test::equal(rig.control->most_sequences.load(), 4, stage + ": all at once");
      rig.engine->cancel(id);
      rig.engine->cancel(987654);
    };
    at_stage(&FakeControl::hold_encode, "encode");
    at_stage(&FakeControl::hold_cross, "cross projection");
    at_stage(&FakeControl::hold_step, "prefill");
  });

  run("cancelling one of two leaves the other whole; one that waits is cancelled too", [] {
    const Outcome expected = alone(kNvlmD, text_request(30, 400));
    Setup two;
    two.max_sequences = 2;
    two.hold_load = true;  // so that both are in the first step
    Rig rig(two);
    rig.control->hold_step = true;
    const uint64_t kept = rig.engine->submit(text_request(30, 400)), dropped = rig.engine->submit(text_request(9, 900)),
                   waiting = rig.engine->submit(text_request(9, 900));
    rig.control->hold_load = false;
    check(eventually([&] { return rig.control->inside == 1; }), "inside a step of both");
    rig.engine->cancel(waiting);
    rig.engine->cancel(dropped);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    check(rig.control->inside == 1, "the step goes on for the one that is left");
    rig.control->hold_step = false;
    ended(rig.log.wait(waiting), "aborted", "waiting");
    ended(rig.log.wait(dropped), "aborted", "running");
    check(rig.log.now(waiting).ids.empty(), "it never ran");
    same(rig.log.wait(kept), expected, "the other");
  });

  run("the load can be cancelled, and fail; then requests are refused", [] {
    Setup holding;
    holding.hold_load = true;
    Rig held(holding);
    const uint64_t early = held.engine->submit(text_request(3, 3));
    held.engine->cancel(0);
    ended(held.log.wait(0), "aborted", "load");
    ended(held.log.wait(early), "closed", "a request that came early");
    ended(held.log.wait(held.engine->submit(text_request(3, 3))), "closed", "and one that came late");
    EventLog log;
    Engine broken({}, log.sink(),
                  [](const LoadOptions&, const auto&, const volatile int32_t*) -> std::unique_ptr<Model> {
                    throw Error("corrupt-checkpoint", "planted");
                  });
    ended(log.wait(0), "corrupt-checkpoint", "load");
    EventLog memory_log;
    Engine hungry({}, memory_log.sink(),
                  [](const LoadOptions&, const auto&, const volatile int32_t*) -> std::unique_ptr<Model> {
                    throw std::bad_alloc();
                  });
    ended(memory_log.wait(0), "out-of-memory", "load");
  });

  run("destroying during load, queue, encode, projection, prefill and decode ends everything with closed", [] {
    for (int stage = 0; stage < 6; ++stage) {
      Setup setup;
      setup.family = kNvlmX;
      setup.hold_load = stage == 0;
      Rig rig(setup);
      if (stage == 1) rig.control->hold_encode = true;
      if (stage == 2) rig.control->hold_cross = true;
      if (stage == 3) rig.control->hold_step = true;
      std::vector<uint64_t> ids;
      for (int i = 0; i < 7; ++i) ids.push_back(rig.engine->submit(image_request(kNvlmX, 2, 2, i, 900)));
      ids.push_back(rig.engine->encode(picture(1, 1), {}));
      if (stage >= 1 && stage <= 3) check(eventually([&] { return rig.control->inside == 1; }), "reached");
      if (stage == 4) rig.log.wait_for_tokens(ids[0], 2);
      rig.engine->stop();
      int ends = 0;
      for (const uint64_t id : ids) {
        const Outcome outcome = rig.log.now(id);
        ends += outcome.ends;
        const bool unheld = stage >= 4;  // some may be through already
        check(outcome.code == "closed" || (id == ids.back() && outcome.code == "encoded") ||
                  (unheld && outcome.code == "length"),
              "stage " + std::to_string(stage) + ": " + outcome.code);
      }
      test::equal(ends, 8, "one end each");
      test::equal(rig.log.now(0).ends, 1, "the load ended");
      test::equal(rig.log.closed(), 1, "closed");
      test::equal(rig.control->images_alive.load(), 0, "image tokens");
    }
  });

  run("two threads that stop at once both return", [] {
    for (int i = 0; i < 20; ++i) {
      Rig rig;
      rig.engine->submit(text_request(5, 100));
      std::thread other([&] { rig.engine->stop(); });
      rig.engine->begin_stop();
      rig.engine->stop();
      other.join();
      test::equal(rig.log.closed(), 1, "closed");
    }
  });
  return summary();
}
