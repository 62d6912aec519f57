// The whole engine over the golden cases: pixels in, greedy ids out, equal to the reference's, alone and in any
// company. And over the bundled models: batches of sampled answers equal each alone; cancelling and destroying while
// real kernels run. What could break: everything between tiles.h and the sampled id.
#include <algorithm>
#include <chrono>
#include <cmath>
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
  explicit Rig(const std::string& folder, int max_sequences = 4) {
    LoadOptions options;
    options.folder = folder;
    options.max_sequences = max_sequences;
    options.context_length = 512;
    options.threads = 2;
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

// Each request in the company of all others says what it says alone, with the same logprobs.
void same_alone_and_together(Rig& rig, const std::vector<Request>& requests) {
  std::vector<Outcome> alone;
  for (const Request& request : requests) alone.push_back(rig.log.wait(rig.engine->submit(request)));
  std::vector<uint64_t> ids;
  for (const Request& request : requests) ids.push_back(rig.engine->submit(request));
  for (size_t i = 0; i < ids.size(); ++i) {
    const Outcome outcome = rig.log.wait(ids[i]);
    same_ids(outcome, alone[i].ids, "request " + std::to_string(i));
    check(!outcome.ids.empty(), "it says something");
    test::equal(outcome.logprobs.size(), outcome.ids.size(), "a logprob each");
    for (size_t t = 0; t < std::min(outcome.logprobs.size(), alone[i].logprobs.size()); ++t) {
      const Logprob &a = outcome.logprobs[t], &b = alone[i].logprobs[t];
      check(a.id == outcome.ids[t] && a.top.size() == 2 && a.logprob <= 0 && std::abs(a.logprob - b.logprob) < 1e-3f,
            "logprob");
    }
  }
}

}  // namespace

int main() {
  for (const std::string& name : golden_names()) {
    run("golden case " + name + ": the reference's ids, alone, together and by handle", [&] {
      const GoldenCase golden = load_golden(name);
      Rig rig(golden.folder);
      if (!rig.loaded()) return;
      std::vector<RgbImage> images;
      const Request request = golden_request(golden, rig.config(), images);
      same_ids(rig.log.wait(rig.engine->submit(request)), golden.greedy_ids(), "alone");
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
        same_ids(outcome, golden.greedy_ids(), "together");
        test::equal(outcome.pixels_free, golden.images() > 0 ? 1 : 0, "pixels");
      }
      const uint64_t tiles_before = rig.engine->stats().encoded_tiles;
      Request by_handle = request;
      for (ImageInput& image : by_handle.images)
        image = {nullptr, 0, 0, 0, 0, rig.log.wait(rig.engine->encode(image, request.tile_tags)).handle};
      const uint64_t tiles = rig.engine->stats().encoded_tiles;
      for (int i = 0; i < 2; ++i)
        same_ids(rig.log.wait(rig.engine->submit(by_handle)), golden.greedy_ids(), "by handle");
      test::equal(rig.engine->stats().encoded_tiles, tiles, "nothing is encoded again");
      check(golden.images() == 0 || tiles > tiles_before, "encode ran");
      for (const ImageInput& image : by_handle.images) rig.engine->release(image.handle);
      rig.log.wait(rig.engine->submit(text_request(3, 1, 0)));
      test::equal(rig.engine->stats().memory.images, uint64_t{0}, "no image memory is left");
    });
  }

  for (const std::string name : {"d", "x", "h"}) {
    run("bundled model " + name +
            ": sampled answers in a batch equal each alone, and the same seed gives the same text",
        [&] {
          Rig rig(bundled(name), 8);
          if (!rig.loaded()) return;
          std::vector<Request> requests;
          for (uint64_t i = 0; i < 10; ++i)
            requests.push_back(text_request(10 + 29 * static_cast<int>(i), i, i % 2 ? 0.9f : 0.0f));
          same_alone_and_together(rig, requests);
        });

    run("bundled model " + name + ": so do answers about images, one or two to a prompt, fresh or encoded before", [&] {
      Rig rig(bundled(name), 8);
      if (!rig.loaded()) return;
      const std::vector<Picture> pictures = {{1, 1, 3}, {2, 1, 5}, {2, 2, 7}, {3, 2, 11}, {1, 1, 13}};
      const Picture& shared = pictures[2];
      ImageInput handle;
      handle.handle =
          rig.log.wait(rig.engine->encode(shared.input(), std::vector<std::vector<int32_t>>(4, {259, 60}))).handle;
      std::vector<Request> requests;
      for (uint64_t i = 0; i < 10; ++i) {
        const Picture& picture = pictures[i % pictures.size()];
        Request request = text_request(5 + 17 * static_cast<int>(i), i / 2, i % 5 ? 0.9f : 0.0f);
        add_image(request, rig.config(), picture.input(), picture.tiles());
        if (i % 3 == 1) add_image(request, rig.config(), handle, shared.tiles());
        requests.push_back(std::move(request));
      }
      requests.push_back(text_request(40, 9, 0.9f));  // company without an image
      same_alone_and_together(rig, requests);

      const auto first_logprob = [&](const Request& request) {
        return rig.log.wait(rig.engine->submit(request)).logprobs.at(0);
      };
      const Picture changed(2, 1, 99);
      Request other = requests[6];
      other.images[0] = changed.input();
      check(first_logprob(requests[6]).top != first_logprob(other).top, "the image is seen");
      rig.engine->release(handle.handle);
    });

    run("bundled model " + name + ": every part of the memory is what was planned", [&] {
      Rig rig(bundled(name), 8);
      if (!rig.loaded()) return;
      const MemoryPlan measured = rig.engine->stats().memory, plan = rig.log.description()->memory;
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
