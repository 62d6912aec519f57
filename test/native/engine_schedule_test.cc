// The engine over a model without arithmetic (support/fake_model.h). What could break: rows of one sequence that read another's pages, chunks at page and row limits,
// images that are encoded or projected twice or freed too early, cancelling at every stage, ends that come twice or never.
#include <atomic>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "support/check.h"
#include "support/event_log.h"
#include "support/fake_model.h"

using namespace nvlm;
using namespace nvlm::test;

namespace {

struct Setup {
  Family family = Family::D;
  int max_sequences = 4, context = 1024, max_images = 4;
  bool hold_load = false;
};

struct Rig {
  explicit Rig(Setup setup = {}) : control(std::make_shared<FakeControl>()) {
    LoadOptions options;
    options.max_sequences = setup.max_sequences;
    options.context_length = setup.context;
    options.max_images = setup.max_images;
    options.max_tiles = 6;
    control->hold_load = setup.hold_load;
    auto shared = control;
    engine = std::make_unique<Engine>(options, log.sink(), [setup, shared](const LoadOptions& o, const auto& progress, const volatile int32_t* cancel) {
      progress(1, 2);
      progress(2, 2);
      while (shared->hold_load) {
        if (std::atomic_ref<int32_t>(const_cast<int32_t&>(*cancel)).load()) throw Error("aborted", "Aborted.");
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
      return std::make_unique<FakeModel>(setup.family, o, shared);
    });
  }

  std::shared_ptr<FakeControl> control;
  EventLog log;
  std::unique_ptr<Engine> engine;
};

Request text_request(int prompt, int max_tokens, int start = 1) {
  Request request;
  for (int i = 0; i < prompt; ++i) request.prompt.ids.push_back((start + i * 7) % FakeModel::kVocab);
  request.max_tokens = max_tokens;
  request.sampling.seed = 5;
  return request;
}

// A picture that lives as long as the program.
ImageInput picture(int columns, int rows, int shade = 3) {
  static std::vector<std::unique_ptr<std::vector<uint8_t>>> all;
  static std::mutex mutex;
  const int width = 8 * columns, height = 8 * rows;
  auto pixels = std::make_unique<std::vector<uint8_t>>(static_cast<size_t>(width * height * 3));
  for (size_t i = 0; i < pixels->size(); ++i) (*pixels)[i] = static_cast<uint8_t>(i * static_cast<size_t>(shade) % 251);
  ImageInput image;
  image.pixels = pixels->data();
  image.width = width;
  image.height = height;
  image.columns = columns;
  image.rows = rows;
  const std::lock_guard lock(mutex);
  all.push_back(std::move(pixels));
  return image;
}

int tiles_of(int columns, int rows) { return columns * rows > 1 ? columns * rows + 1 : 1; }

// D: text, the image's slots, text. X: text, text that attends to the image. `tiles` with the thumbnail.
void add_image(Request& request, Family family, ImageInput image, int tiles) {
  const int index = static_cast<int>(request.images.size());
  if (family == Family::D) {
    for (int tile = 0; tile < tiles; ++tile) {
      request.prompt.slots.push_back({static_cast<int32_t>(request.prompt.ids.size()), index, tile});
      request.prompt.ids.insert(request.prompt.ids.end(), 16, 0);
    }
  }
  request.prompt.ids.push_back(17);
  request.prompt.image_ends.push_back(static_cast<int32_t>(request.prompt.ids.size()));
  request.prompt.ids.insert(request.prompt.ids.end(), {21, 22, 23});
  request.images.push_back(image);
}

Request image_request(Family family, int columns, int rows, int shade, int max_tokens) {
  Request request = text_request(5, max_tokens, shade);
  add_image(request, family, picture(columns, rows, shade), tiles_of(columns, rows));
  return request;
}

Outcome alone(Family family, const Request& request) {
  Setup setup;
  setup.family = family;
  Rig rig(setup);
  return rig.log.wait(rig.engine->submit(request));
}

void same(const Outcome& got, const Outcome& expected, const std::string& what) {
  check(got.ids == expected.ids && !got.ids.empty(), what + ": same ids (" + got.code + " " + got.message + ")");
  test::equal(got.code, expected.code, what + ": same end");
  test::equal(got.ends, 1, what + ": one end");
}

void ended(const Outcome& outcome, const std::string& code, const std::string& what) {
  test::equal(outcome.code, code, what + " (" + outcome.message + ")");
  test::equal(outcome.ends, 1, what + ": one end");
}

bool eventually(const std::function<bool()>& holds) {
  for (int i = 0; i < 20000; ++i) {
    if (holds()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

}  // namespace

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

  run("prompts of every length around pages and steps say the same alone and together", [] {
    const std::vector<int> lengths = {1, 2, 63, 64, 65, 127, 128, 129, 255, 256, 257, 300, 511, 512, 513};
    std::vector<Outcome> expected;
    for (const int length : lengths) expected.push_back(alone(Family::D, text_request(length, 70, length)));
    Setup holding;
    holding.hold_load = true;  // so that all are there when the first begins
    Rig rig(holding);
    std::vector<uint64_t> ids;
    for (const int length : lengths) ids.push_back(rig.engine->submit(text_request(length, 70, length)));
    rig.control->hold_load = false;
    for (size_t i = 0; i < ids.size(); ++i) {
      const Outcome outcome = rig.log.wait(ids[i]);
      same(outcome, expected[i], "length " + std::to_string(lengths[i]));
      test::equal(outcome.generated, 70, "tokens");
      ended(outcome, "length", "finish");
    }
    check(rig.control->most_sequences == 4, "four ran at once, no more");
    check(rig.control->most_rows <= Model::kMaxRows, "rows of a step");
  });

  for (const Family family : {Family::D, Family::X}) {
    const std::string name = family == Family::D ? "D" : "X";
    run("several prompts with images say the same alone and together, " + name, [&] {
      std::vector<Request> requests;
      for (int i = 0; i < 6; ++i) requests.push_back(image_request(family, 1 + i % 3, 1 + i % 2, i + 1, 30));
      add_image(requests[2], family, picture(2, 1, 91), 3);  // two images
      add_image(requests[2], family, picture(1, 1, 92), 1);
      requests.push_back(text_request(40, 30));
      std::vector<Outcome> expected;
      for (const Request& request : requests) expected.push_back(alone(family, request));
      for (size_t i = 0; i + 1 < expected.size(); ++i) check(expected[i].ids != expected[i + 1].ids, "images and text matter");
      Rig rig({family});
      std::vector<uint64_t> ids;
      for (const Request& request : requests) ids.push_back(rig.engine->submit(request));
      for (size_t i = 0; i < ids.size(); ++i) {
        const Outcome outcome = rig.log.wait(ids[i]);
        same(outcome, expected[i], "request " + std::to_string(i));
        test::equal(outcome.pixels_free, i < 6 ? 1 : 0, "pixels are let go once");
      }
      test::equal(rig.control->images_alive.load(), 0, "all image tokens are freed");
      test::equal(rig.engine->stats().active_requests, 0, "nothing is active");
    });

    run("two pictures with the same text give different first tokens, " + name, [&] {
      Request first = image_request(family, 2, 1, 1, 3), second = first;
      second.images[0] = picture(2, 1, 2);
      check(alone(family, first).ids.at(0) != alone(family, second).ids.at(0), "the image is seen");
    });

    run("an encoded image is encoded once, " + name + ", and says what its pixels say", [&] {
      const Outcome expected = alone(family, image_request(family, 2, 2, 9, 20));
      Rig rig({family});
      const Outcome encoded = rig.log.wait(rig.engine->encode(picture(2, 2, 9), {}));
      ended(encoded, "encoded", "encode");
      test::equal(encoded.tiles, 5, "tiles");
      test::equal(encoded.bytes, uint64_t{5 * 16 * 4}, "bytes");
      test::equal(encoded.pixels_free, 1, "pixels");
      Request request = image_request(family, 2, 2, 9, 20);
      request.images[0] = {};
      request.images[0].handle = encoded.handle;
      for (int i = 0; i < 3; ++i) same(rig.log.wait(rig.engine->submit(request)), expected, "by handle");
      test::equal(rig.engine->stats().encoded_tiles, uint64_t{5}, "tiles were encoded once");
      test::equal(rig.engine->stats().cross_projections, uint64_t{family == Family::X ? 1u : 0u}, "keys and values were projected once");
      test::equal(rig.engine->stats().images, 1, "one image is kept");

      const uint64_t last = rig.engine->submit(request);
      rig.engine->release(encoded.handle);
      same(rig.log.wait(last), expected, "a request that came before the release");
      ended(rig.log.wait(rig.engine->submit(request)), "closed", "one that came after");
      test::equal(rig.control->images_alive.load(), 0, "the tokens are freed");
      test::equal(rig.engine->stats().images, 0, "none is kept");
    });
  }

  run("cross pages of idle images make room, least recently used first", [] {
    Rig rig({Family::X});  // 8 pages; each image of 2x2 tiles needs 2 (80 tokens)
    std::vector<Request> requests;
    std::vector<Outcome> expected;
    for (int i = 0; i < 5; ++i) {
      requests.push_back(image_request(Family::X, 2, 2, 20 + i, 5));
      expected.push_back(alone(Family::X, requests.back()));
      const ImageInput pixels = requests.back().images[0];
      requests.back().images[0] = {};
      requests.back().images[0].handle = rig.log.wait(rig.engine->encode(pixels, {})).handle;
    }
    const auto ask = [&](int i) { same(rig.log.wait(rig.engine->submit(requests[static_cast<size_t>(i)])), expected[static_cast<size_t>(i)], "image " + std::to_string(i)); };
    for (int i = 0; i < 4; ++i) ask(i);
    ask(0);  // used again: 1 is the oldest now
    test::equal(rig.engine->stats().cross_projections, uint64_t{4}, "all four fit");
    ask(4);  // takes the pages of 1
    ask(0);
    test::equal(rig.engine->stats().cross_projections, uint64_t{5}, "0 was kept");
    ask(1);
    test::equal(rig.engine->stats().cross_projections, uint64_t{6}, "1 was not");
    test::equal(rig.engine->stats().encoded_tiles, uint64_t{25}, "nothing was encoded again");
  });

  run("the same image twice in a prompt is projected once", [] {
    Request twice = image_request(Family::X, 2, 1, 4, 10);
    add_image(twice, Family::X, picture(2, 1, 4), 3);
    const Outcome expected = alone(Family::X, twice);
    Rig rig({Family::X});
    const uint64_t handle = rig.log.wait(rig.engine->encode(picture(2, 1, 4), {})).handle;
    for (ImageInput& image : twice.images) {
      image = {};
      image.handle = handle;
    }
    same(rig.log.wait(rig.engine->submit(twice)), expected, "twice");
    test::equal(rig.engine->stats().cross_projections, uint64_t{1}, "projections");
  });

  run("requests that need more than there is wait for each other, and all finish", [] {
    Setup tight;
    tight.family = Family::X;
    Rig rig(tight);
    std::vector<uint64_t> ids;
    std::vector<Outcome> expected;
    for (int i = 0; i < 12; ++i) {
      const Request request = image_request(Family::X, 3, 2, 50 + i, 40);  // 2 pages each; 4 sequences take all 8
      if (i < 2) expected.push_back(alone(Family::X, request));
      ids.push_back(rig.engine->submit(request));
    }
    for (size_t i = 0; i < ids.size(); ++i) {
      const Outcome outcome = rig.log.wait(ids[i]);
      ended(outcome, "length", "finish");
      if (i < expected.size()) same(outcome, expected[i], "same");
    }
  });

  run("what can never fit fails at once, with numbers", [] {
    Setup small;
    small.family = Family::X;
    small.context = 100;
    small.max_images = 2;
    Rig rig(small);
    const Outcome too_long = rig.log.wait(rig.engine->submit(text_request(100, 4)));
    ended(too_long, "prompt-too-long", "prompt");
    check(too_long.message.find("100") != std::string::npos, too_long.message);
    ended(rig.log.wait(rig.engine->submit(text_request(99, 50))), "length", "room for one token");
    test::equal(rig.log.now(2).generated, 1, "tokens that fitted");
    Request many = text_request(3, 4);
    for (int i = 0; i < 3; ++i) add_image(many, Family::X, picture(1, 1, i), 1);
    const Outcome too_many = rig.log.wait(rig.engine->submit(many));
    ended(too_many, "too-many-images", "images");
    check(too_many.message.find("3 images") != std::string::npos, too_many.message);
    FakeModel::cross_pages = 1;
    Rig one_page(small);
    const Outcome pages = one_page.log.wait(one_page.engine->submit(image_request(Family::X, 2, 2, 1, 4)));
    FakeModel::cross_pages = 8;
    ended(pages, "too-many-images", "pages");
    Request bad = text_request(3, 4);
    bad.prompt.ids[1] = FakeModel::kVocab;
    ended(rig.log.wait(rig.engine->submit(bad)), "internal", "an id outside of the vocabulary");
    Request grid = image_request(Family::X, 1, 1, 1, 4);
    grid.images[0].columns = 1 << 20;
    grid.images[0].rows = 1 << 20;
    ended(rig.log.wait(rig.engine->submit(grid)), "internal", "a grid that overflows");
    ended(rig.log.wait(rig.engine->submit(text_request(3, 2))), "length", "the engine goes on");
  });

  run("stop ids end the answer and are not part of it; stop strings and lengths too", [] {
    const Outcome plain = alone(Family::D, text_request(10, 20));
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
    by_string.stop_strings = {"never", ">" "<" + std::to_string(plain.ids[5]) + ">"};
    const Outcome cut = rig.log.wait(rig.engine->submit(by_string));
    ended(cut, "stop", "stop string");
    test::equal(cut.stop_string, 1, "which");
    test::equal(cut.generated, 6, "generated");
    std::string text;
    for (int i = 0; i < 5; ++i) text += "<" + std::to_string(plain.ids[static_cast<size_t>(i)]) + ">";
    text.pop_back();
    test::equal(cut.text, text, "text before it");
    Request held = text_request(10, 3);
    held.stop_strings = {">" "<never"};
    text = "";
    for (int i = 0; i < 3; ++i) text += "<" + std::to_string(plain.ids[static_cast<size_t>(i)]) + ">";
    test::equal(rig.log.wait(rig.engine->submit(held)).text, text, "what was held back comes at the end");
  });

  run("one request's failure never ends another's; a failed step ends those in it", [] {
    Rig rig({Family::X});
    rig.control->fail_encode = true;
    const uint64_t image = rig.engine->submit(image_request(Family::X, 2, 1, 3, 4));
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
    same(rig.log.wait(rig.engine->submit(text_request(64, 10))), alone(Family::D, text_request(64, 10)), "afterwards");
    test::equal(rig.engine->stats().active_requests, 0, "nothing is left");
    test::equal(rig.control->images_alive.load(), 0, "no image is left");
  });

  run("cancelling works at every stage, and frees what the request held", [] {
    const auto at_stage = [](std::atomic<bool> FakeControl::* hold, const std::string& stage) {
      Rig rig({Family::X});
      rig.log.wait(0);
      (*rig.control).*hold = true;
      const uint64_t id = rig.engine->submit(image_request(Family::X, 2, 2, 3, 50));
      check(eventually([&] { return rig.control->inside == 1; }), stage + " is reached");
      rig.engine->cancel(id);
      ended(rig.log.wait(id), "aborted", stage);
      test::equal(rig.control->images_alive.load(), 0, stage + ": image tokens");
      // All pages must be back: four more take every page there is.
      std::vector<uint64_t> ids;
      for (int i = 0; i < 4; ++i) ids.push_back(rig.engine->submit(image_request(Family::X, 3, 2, i, 1000)));
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
    const Outcome expected = alone(Family::D, text_request(30, 400));
    Setup two;
    two.max_sequences = 2;
    two.hold_load = true;  // so that both are in the first step
    Rig rig(two);
    rig.control->hold_step = true;
    const uint64_t kept = rig.engine->submit(text_request(30, 400)), dropped = rig.engine->submit(text_request(9, 900)), waiting = rig.engine->submit(text_request(9, 900));
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
    Engine broken({}, log.sink(), [](const LoadOptions&, const auto&, const volatile int32_t*) -> std::unique_ptr<Model> { throw Error("corrupt-checkpoint", "planted"); });
    ended(log.wait(0), "corrupt-checkpoint", "load");
    EventLog memory_log;
    Engine hungry({}, memory_log.sink(), [](const LoadOptions&, const auto&, const volatile int32_t*) -> std::unique_ptr<Model> { throw std::bad_alloc(); });
    ended(memory_log.wait(0), "out-of-memory", "load");
  });

  run("destroying during load, queue, encode, projection, prefill and decode ends everything with closed", [] {
    for (int stage = 0; stage < 6; ++stage) {
      Setup setup;
      setup.family = Family::X;
      setup.hold_load = stage == 0;
      Rig rig(setup);
      if (stage == 1) rig.control->hold_encode = true;
      if (stage == 2) rig.control->hold_cross = true;
      if (stage == 3) rig.control->hold_step = true;
      std::vector<uint64_t> ids;
      for (int i = 0; i < 7; ++i) ids.push_back(rig.engine->submit(image_request(Family::X, 2, 2, i, 900)));
      ids.push_back(rig.engine->encode(picture(1, 1), {}));
      if (stage >= 1 && stage <= 3) check(eventually([&] { return rig.control->inside == 1; }), "reached");
      if (stage == 4) rig.log.wait_for_tokens(ids[0], 2);
      rig.engine->stop();
      int ends = 0;
      for (const uint64_t id : ids) {
        const Outcome outcome = rig.log.now(id);
        ends += outcome.ends;
        const bool unheld = stage >= 4;  // some may be through already
        check(outcome.code == "closed" || (id == ids.back() && outcome.code == "encoded") || (unheld && outcome.code == "length"), "stage " + std::to_string(stage) + ": " + outcome.code);
      }
      test::equal(ends, 8, "one end each");
      test::equal(rig.log.now(0).ends, 1, "the load ended");
      test::equal(rig.log.closed(), 1, "closed");
      test::equal(rig.control->images_alive.load(), 0, "image tokens");
    }
  });

  run("many requests from many threads, some cancelled, all end once", [] {
    Rig rig({Family::X});
    const Outcome expected = alone(Family::X, text_request(20, 12));
    std::vector<std::vector<uint64_t>> ids(4);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 100; ++i) {
          const uint64_t id = i % 10 == 3 ? rig.engine->submit(image_request(Family::X, 1 + i % 2, 1, 1 + i, 6)) : rig.engine->submit(text_request(20, 12));
          ids[static_cast<size_t>(t)].push_back(id);
          if (i % 7 == 0) rig.engine->cancel(id);
          rig.engine->stats();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    int finished = 0;
    for (const auto& list : ids) {
      for (size_t i = 0; i < list.size(); ++i) {
        const Outcome outcome = rig.log.wait(list[i]);
        test::equal(outcome.ends, 1, "one end");
        check(outcome.code == "length" || (i % 7 == 0 && outcome.code == "aborted"), "end: " + outcome.code + " " + outcome.message);
        if (outcome.code == "length" && i % 10 != 3) finished += outcome.ids == expected.ids;
      }
    }
    check(finished > 250, "their answers are right");
    test::equal(rig.engine->stats().active_requests, 0, "nothing is left");
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
