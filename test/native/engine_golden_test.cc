// The whole engine over the golden cases: pixels in, greedy ids out, equal to the reference's, alone and in any company. And over the bundled models: batches of
// sampled answers equal each alone; cancelling and destroying while real kernels run. What could break: everything between tiles.h and the sampled id.
#include <chrono>
#include <cmath>
#include <thread>

#include "engine/engine.h"
#include "support/check.h"
#include "support/event_log.h"
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

std::string bundled(const std::string& name) { return std::string(NVLM_SOURCE_DIR) + "/models/nvlm-tiny-" + name; }

void same_ids(const Outcome& outcome, const std::vector<int32_t>& expected, const std::string& what) {
  std::string got = outcome.code + " " + outcome.message + ":";
  for (const int32_t id : outcome.ids) got += " " + std::to_string(id);
  check(outcome.ids == expected, what + ": got " + got);
}

// Plain text prompts for the bundled models (ids below their vocabulary's special tokens).
Request text_request(int length, uint64_t seed, float temperature) {
  Request request;
  for (int i = 0; i < length; ++i) request.prompt.ids.push_back(static_cast<int32_t>((seed * 31 + static_cast<uint64_t>(i) * 17) % 300));
  request.max_tokens = 24;
  request.sampling.seed = seed;
  request.sampling.temperature = temperature;
  request.sampling.top_k = 40;
  request.sampling.top_logprobs = 2;
  return request;
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
      for (ImageInput& image : by_handle.images) image = {nullptr, 0, 0, 0, 0, rig.log.wait(rig.engine->encode(image, request.tile_tags)).handle};
      const uint64_t tiles = rig.engine->stats().encoded_tiles;
      for (int i = 0; i < 2; ++i) same_ids(rig.log.wait(rig.engine->submit(by_handle)), golden.greedy_ids(), "by handle");
      test::equal(rig.engine->stats().encoded_tiles, tiles, "nothing is encoded again");
      check(golden.images() == 0 || tiles > tiles_before, "encode ran");
      for (const ImageInput& image : by_handle.images) rig.engine->release(image.handle);
      rig.log.wait(rig.engine->submit(text_request(3, 1, 0)));
      test::equal(rig.engine->stats().memory.images, uint64_t{0}, "no image memory is left");
    });
  }

  for (const std::string name : {"d", "x", "h"}) {
    run("bundled model " + name + ": sampled answers in a batch equal each alone, and the same seed gives the same text", [&] {
      Rig rig(bundled(name), 8);
      if (!rig.loaded()) return;
      const Stats stats = rig.engine->stats();
      const MemoryPlan plan = rig.log.description()->memory;
      test::equal(stats.memory.weights, plan.weights, "weights as planned");
      test::equal(stats.memory.kv_cache, plan.kv_cache, "cache as planned");
      test::equal(stats.memory.activations, plan.activations, "activations as planned");
      std::vector<Outcome> alone;
      for (uint64_t i = 0; i < 10; ++i) alone.push_back(rig.log.wait(rig.engine->submit(text_request(10 + 29 * static_cast<int>(i), i, i % 2 ? 0.9f : 0.0f))));
      std::vector<uint64_t> ids;
      for (uint64_t i = 0; i < 10; ++i) ids.push_back(rig.engine->submit(text_request(10 + 29 * static_cast<int>(i), i, i % 2 ? 0.9f : 0.0f)));
      for (size_t i = 0; i < ids.size(); ++i) {
        const Outcome outcome = rig.log.wait(ids[i]);
        same_ids(outcome, alone[i].ids, "request " + std::to_string(i));
        test::equal(outcome.logprobs.size(), outcome.ids.size(), "a logprob each");
        for (size_t t = 0; t < outcome.logprobs.size(); ++t) {
          const Logprob &a = outcome.logprobs[t], &b = alone[i].logprobs[t];
          check(a.id == outcome.ids[t] && a.top.size() == 2 && a.logprob <= 0 && std::abs(a.logprob - b.logprob) < 1e-3f, "logprob");
        }
      }
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
