// The whole engine over the golden cases: pixels in, greedy ids out, equal to the reference's, alone and in any
// company. And over the bundled models: batches of sampled answers equal each alone; cancelling and destroying while
// real kernels run. What could break: everything between tiles.h and the sampled id.
#include <algorithm>
#include <chrono>
#include <functional>
#include <thread>

#include "engine/engine.h"
#include "support/bundled_request.h"
#include "support/check.h"
#include "support/event_log.h"
#include "support/families.h"
#include "support/golden_request.h"

using namespace nvlm;
using namespace nvlm::test;

namespace {

struct Rig {
  explicit Rig(const std::string& folder, int max_sequences = 4, int step_rows = 0, int threads = 2) {
    LoadOptions options;
    options.folder = folder;
    options.max_sequences = max_sequences;
    options.context_length = 512;
    options.step_rows = step_rows;
    options.threads = threads;
    engine = std::make_unique<Engine>(options, log.sink());
  }
  bool loaded() { return test::equal(log.wait(0).code, std::string("loaded"), "load: " + log.now(0).message); }
  const ModelConfig& config() { return log.description()->config; }

  EventLog log;
  std::unique_ptr<Engine> engine;
};

void same_ids(const Outcome& outcome, const std::vector<int32_t>& expected, const std::string& what) {
  std::string got = outcome.code + " " + outcome.message + ":";
  for (const int32_t id : outcome.ids) got += " " + std::to_string(id);
  check(outcome.ids == expected, what + ": got " + got);
}

void same_logprobs(const Outcome& got, const Outcome& expected, const std::string& what) {
  if (!test::equal(got.logprobs.size(), expected.logprobs.size(), what + ": a logprob each")) return;
  for (size_t t = 0; t < got.logprobs.size(); ++t) {
    const Logprob &a = got.logprobs[t], &b = expected.logprobs[t];
    if (!check(a.id == b.id && a.logprob == b.logprob && a.top == b.top,
               what + ": token " + std::to_string(t) + " has logprob " + std::to_string(a.logprob) + ", alone " +
                   std::to_string(b.logprob)))
      return;
  }
}

// Each request says the same with the same logprobs, bit for bit: alone, in the company of all others, and in an engine
// that reads prompts in other chunks on another number of threads. `make`: the requests, for an engine.
void same_alone_and_together(const std::string& folder, Rig& rig,
                             const std::function<std::vector<Request>(Rig&)>& make) {
  const std::vector<Request> requests = make(rig);
  std::vector<Outcome> alone;
  for (const Request& request : requests) {
    alone.push_back(rig.log.wait(rig.engine->submit(request)));
    check(!alone.back().ids.empty() && alone.back().logprobs.size() == alone.back().ids.size(), "it says something");
  }
  const auto together = [&](Rig& other, const std::vector<Request>& all, const std::string& where) {
    std::vector<uint64_t> ids;
    for (const Request& request : all) ids.push_back(other.engine->submit(request));
    for (size_t i = 0; i < ids.size(); ++i) {
      const std::string what = where + ", request " + std::to_string(i);
      const Outcome outcome = other.log.wait(ids[i]);
      same_ids(outcome, alone[i].ids, what);
      same_logprobs(outcome, alone[i], what);
    }
  };
  together(rig, requests, "together");
  Rig chunked(folder, 8, 23, 1);
  if (chunked.loaded()) together(chunked, make(chunked), "in chunks of 23 rows, on one thread");
}

}  // namespace

int main() {
  // A sanitized build is ten times slower: it takes one case of each family, and H alone, whose code is D's and X's.
  const bool sanitized = std::getenv("NVLM_SANITIZE") != nullptr;
  const std::vector<std::string> few = {"d-one-tile", "x-two-images", "h-one-tile"};
  for (const std::string& name : sanitized ? few : golden_names()) {
    run("golden case " + name + ": the reference's ids, alone, together and by handle", [&] {
      const GoldenCase golden = load_golden(name);
      Rig rig(golden.folder);
      if (!rig.loaded()) return;
      std::vector<RgbImage> images;
      const Request request = golden_request(golden, rig.config(), images);
      same_ids(rig.log.wait(rig.engine->submit(request)), golden.greedy_ids, "alone");
      std::vector<uint64_t> ids;
      for (int i = 0; i < 6; ++i) {
        ids.push_back(rig.engine->submit(request));
        Request other = request;  // company of other lengths and without images
        other.prompt = {};
        other.prompt.ids.assign(static_cast<size_t>(30 + 61 * i), 40 + i);
        other.images.clear();
        rig.engine->submit(other);
      }
      for (const uint64_t id : ids) {
        const Outcome outcome = rig.log.wait(id);
        same_ids(outcome, golden.greedy_ids, "together");
        test::equal(outcome.pixels_free, golden.images() > 0 ? 1 : 0, "pixels");
      }
      const uint64_t tiles_before = rig.engine->stats().encoded_tiles;
      Request by_handle = request;
      for (ImageInput& image : by_handle.images)
        image = {nullptr, 0, 0, 0, 0, rig.log.wait(rig.engine->encode(image, request.tile_tags)).handle};
      const uint64_t tiles = rig.engine->stats().encoded_tiles;
      for (int i = 0; i < 2; ++i) same_ids(rig.log.wait(rig.engine->submit(by_handle)), golden.greedy_ids, "by handle");
      test::equal(rig.engine->stats().encoded_tiles, tiles, "nothing is encoded again");
      check(golden.images() == 0 || tiles > tiles_before, "encode ran");
      for (const ImageInput& image : by_handle.images) rig.engine->release(image.handle);
      rig.log.wait(rig.engine->submit(text_request(3, 1, 0)));
      test::equal(rig.engine->stats().memory.images, uint64_t{0}, "no image memory is left");
    });
  }

  for (const std::string& name : sanitized ? std::vector<std::string>{"h"} : std::vector<std::string>{"d", "x", "h"}) {
    if (!sanitized)
      run("bundled model " + name +
              ": sampled answers in a batch equal each alone, and the same seed gives the same text",
          [&] {
            Rig rig(bundled(name), 8);
            if (!rig.loaded()) return;
            same_alone_and_together(bundled(name), rig, [](Rig&) {
              std::vector<Request> requests;
              for (uint64_t i = 0; i < 10; ++i)
                requests.push_back(text_request(10 + 29 * static_cast<int>(i), i, i % 2 ? 0.9f : 0.0f));
              return requests;
            });
          });

    run("bundled model " + name + ": so do answers about images, one or two to a prompt, fresh or encoded before", [&] {
      Rig rig(bundled(name), 8);
      if (!rig.loaded()) return;
      const std::vector<Picture> pictures = {{1, 1, 3}, {2, 1, 5}, {2, 2, 7}, {3, 2, 11}, {1, 1, 13}};
      const Picture& shared = pictures[2];
      const auto with_images = [&](Rig& r) {
        ImageInput handle;
        handle.handle =
            r.log.wait(r.engine->encode(shared.input(), std::vector<std::vector<int32_t>>(4, {259, 60}))).handle;
        std::vector<Request> requests;
        for (uint64_t i = 0; i < 10; ++i) {
          const Picture& picture = pictures[i % pictures.size()];
          Request request = text_request(5 + 17 * static_cast<int>(i), i / 2, i % 5 ? 0.9f : 0.0f);
          add_image(request, r.config(), picture.input(), picture.tiles());
          if (i % 3 == 1) add_image(request, r.config(), handle, shared.tiles());
          requests.push_back(std::move(request));
        }
        requests.push_back(text_request(40, 9, 0.9f));  // company without an image
        return requests;
      };
      same_alone_and_together(bundled(name), rig, with_images);

      const auto first_logprob = [&](const Request& request) {
        return rig.log.wait(rig.engine->submit(request)).logprobs.at(0);
      };
      const Picture changed(2, 1, 99);
      const Request request = with_images(rig)[6];
      Request other = request;
      other.images[0] = changed.input();
      check(first_logprob(request).top != first_logprob(other).top, "the image is seen");
    });

    run("bundled model " + name + ": every part of the memory is what was planned", [&] {
      Rig rig(bundled(name), 8);
      if (!rig.loaded()) return;
      const MemoryUse measured = rig.engine->stats().memory, plan = rig.log.description()->memory;
      test::equal(measured.weights, plan.weights, "weights");
      test::equal(measured.kv_cache, plan.kv_cache, "key/value cache");
      test::equal(measured.cross_cache, plan.cross_cache, "cross-attention cache");
      test::equal(plan.cross_cache > 0, rig.config().family != kNvlmD, "there is one");
      test::equal(measured.activations, plan.activations, "activations");
      test::equal(measured.images, uint64_t{0}, "images, before there are any");
      const Picture largest(3, 2, 3);  // maxTiles 6 and the thumbnail
      for (int i = 0; i < rig.log.description()->options.max_images; ++i) {
        test::equal(
            rig.log.wait(rig.engine->encode(largest.input(), std::vector<std::vector<int32_t>>(6, {259, 60}))).code,
            std::string("encoded"), "image");
      }
      test::equal(rig.engine->stats().memory.images, plan.images, "images, as many and as large as were planned for");
    });

    run("bundled model " + name + ": cancelling and destroying while kernels run", [&] {
      const GoldenCase golden = load_golden("d-six-tiles");  // any picture
      std::vector<RgbImage> images{golden.image(0)};
      const ImageInput picture{images[0].pixels.data(), images[0].width, images[0].height, 3, 2, 0};
      const std::vector<std::vector<int32_t>> tags(6, {5, 6, 7});
      for (int delay = 0; delay < 60; delay += 4) {  // milliseconds: from inside the load to inside decoding
        Rig rig(bundled(name));
        std::vector<uint64_t> ids;
        for (uint64_t i = 0; i < 3; ++i) ids.push_back(rig.engine->submit(text_request(200, i, 0)));
        ids.push_back(rig.engine->encode(picture, tags));
        std::this_thread::sleep_for(std::chrono::milliseconds(delay));
        if (delay % 8 == 0) rig.engine->cancel(ids[1]);
        rig.engine->stop();
        for (const uint64_t id : ids) test::equal(rig.log.now(id).ends, 1, "one end");
        test::equal(rig.log.closed(), 1, "closed");
      }
      Rig rig(bundled(name));
      if (!rig.loaded()) return;
      const uint64_t encode = rig.engine->encode(picture, tags);
      rig.engine->cancel(encode);
      const std::string code = rig.log.wait(encode).code;
      check(code == "aborted" || code == "encoded", "encode: " + code);
      test::equal(rig.log.wait(rig.engine->submit(text_request(20, 3, 0))).ends, 1, "the engine goes on");
    });
  }

  run("a folder that is no checkpoint says so", [] {
    Rig rig(std::string(NVLM_SOURCE_DIR) + "/native");
    test::equal(rig.log.wait(0).code, std::string("not-a-checkpoint"), "load");
  });
  return summary();
}
