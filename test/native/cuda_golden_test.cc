// Golden cases through the CUDA library in bf16: logits of the prompt's last rows and of every greedy step, within 1e-2
// of the reference's float32, relative.
//
//   cuda_golden_test [WORD]     only cases whose name contains WORD, and not those in chunks
//
// The library is NVLM_CUDA_LIBRARY, or the emulator's.
#include <dlfcn.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "engine/engine.h"
#include "support/bundled_request.h"
#include "support/check.h"
#include "support/emulator_library.h"
#include "support/event_log.h"
#include "support/golden_request.h"
#include "support/golden_sequence.h"

namespace {

using namespace nvlm;

constexpr double kLimit = 1e-2;

// Fewer rows than the longer prompts have, so that they are read in chunks which end in the midst of pages.
constexpr int kShortStep = 72;

LoadOptions options_for(const test::GoldenCase& golden, int step_rows = 0) {
  const char* library = std::getenv("NVLM_CUDA_LIBRARY");
  LoadOptions o;
  o.folder = golden.folder;
  o.device = library ? "cuda" : "emulator";
  o.cuda_library = library ? library : test::emulator_library();
  o.max_sequences = 8;  // as many logit rows as the golden files hold
  o.context_length = 512;
  o.step_rows = step_rows;
  return o;
}

// The largest error as a share of the largest value; NaN when something is not finite.
double relative_error(const float* got, const float* expected, size_t count) {
  double error = 0, size = 0;
  for (size_t i = 0; i < count; ++i) {
    if (!std::isfinite(got[i])) return NAN;
    error = std::max(error, std::abs(static_cast<double>(got[i]) - expected[i]));
    size = std::max(size, std::abs(static_cast<double>(expected[i])));
  }
  return error / size;
}

// Cut on the device: Pillow's bytes.
void check_tiles(Model& model, const test::GoldenCase& golden, int k) {
  const test::GoldenTensor& expected = golden["tiles" + std::to_string(k + 1)];
  const test::RgbImage image = golden.image(k);
  const auto [columns, rows] = golden.grid(k);
  std::vector<uint8_t> tiles(static_cast<size_t>(expected.count()));
  const nvlm_picture picture{
      image.pixels.data(), image.width, image.height, columns, rows, static_cast<int32_t>(expected.shape[1]),
      columns * rows > 1};
  test::check(model.cut_tiles(picture, tiles.data()), "the device cuts image " + std::to_string(k + 1));
  test::check(std::equal(tiles.begin(), tiles.end(), expected.u8()),
              "tiles of image " + std::to_string(k + 1) + " are Pillow's");
}

void check_case(const std::string& name, int step_rows = 0) {
  const test::GoldenCase golden = test::load_golden(name);
  const std::unique_ptr<Model> model = Model::load(options_for(golden, step_rows), nullptr, nullptr);
  const MemoryUse plan = model->description().memory, measured = model->measured();
  test::equal(measured.weights, plan.weights, "weights as planned");
  // 2 bytes each, 4 in vectors: less than with a second copy of the embedding, which a tied head must not make.
  const ParameterCounts& p = model->description().parameters;
  const uint64_t embedding =
      static_cast<uint64_t>(model->config().decoder.vocab) * static_cast<uint64_t>(model->config().decoder.hidden);
  test::check(plan.weights < 2 * (p.encoder + p.projector + p.decoder + p.cross_attention) + embedding,
              "each parameter is stored once: " + std::to_string(plan.weights) + " bytes");
  test::equal(measured.kv_cache, plan.kv_cache, "key/value cache as planned");
  test::equal(measured.cross_cache, plan.cross_cache, "cross-attention cache as planned");
  test::equal(measured.activations, plan.activations, "activations as planned");

  for (int k = 0; k < golden.images(); ++k) check_tiles(*model, golden, k);

  test::GoldenSequence sequence(*model, golden);
  const auto vocab = static_cast<size_t>(model->config().decoder.vocab);
  std::vector<float> logits = sequence.prefill(8);
  const double error = relative_error(logits.data(), golden["last_logits"].floats(), 8 * vocab);
  test::check(error <= kLimit, "logits of the prompt: error " + std::to_string(error));
  // The reference's ids are fed, so that a near tie does not send the comparison elsewhere. Another id may lead by what
  // two logits can be off.
  const std::vector<int32_t> expected = golden.greedy_ids;
  auto position = static_cast<int>(sequence.prompt().ids.size());
  int same = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const float* last = logits.data() + logits.size() - vocab;
    const float most = *std::max_element(last, last + vocab), least = *std::min_element(last, last + vocab);
    const double lead = most - last[expected[i]], allowed = 2 * kLimit * std::max(std::abs(most), std::abs(least));
    test::check(lead <= allowed, "greedy id " + std::to_string(i) + ": another leads by " + std::to_string(lead) +
                                     ", at most " + std::to_string(allowed) + " is rounding");
    same += lead == 0;
    logits = sequence.run({expected[i]}, position++, 1);
  }
  std::printf("%-26s logits %.2e  greedy %d of %zu\n", name.c_str(), error, same, expected.size());
}

// Launches that the emulator's library, which is open, has carried out.
uint64_t launches() {
  void* library = dlopen(test::emulator_library(), RTLD_NOW | RTLD_NOLOAD);
  const auto counter = library ? reinterpret_cast<uint64_t (*)()>(dlsym(library, "nvlm_emulator_launches")) : nullptr;
  const uint64_t count = counter ? counter() : 0;
  if (library) dlclose(library);
  return count;
}

// A bundled model, which is trained and larger, over the prompt and image of a golden case, whose tokenizer and tiles
// are alike: held against the CPU's float32.
std::vector<float> bundled_logits(const LoadOptions& options, const test::GoldenCase& golden) {
  const std::unique_ptr<Model> model = Model::load(options, nullptr, nullptr);
  test::GoldenSequence sequence(*model, golden);
  std::vector<float> logits = sequence.prefill(8);
  auto position = static_cast<int>(sequence.prompt().ids.size());
  for (const int32_t token : {50, 71, 33}) {
    const uint64_t before = launches();
    const std::vector<float> next = sequence.run({token}, position++, 1);
    logits.insert(logits.end(), next.begin(), next.end());
    if (before == 0) continue;  // the CPU
    // docs/cuda.md: five a layer, three more with cross-attention; then the embedding, the row that is wanted, its norm
    // with the head.
    const ModelConfig& c = model->config();
    test::equal(
        launches() - before,
        static_cast<uint64_t>(5 * c.decoder.layers) + 3 * (sequence.routing().cross ? c.cross.layers.size() : 0) + 3,
        "launches of a token");
  }
  return logits;
}

void check_bundled(const std::string& kind, const std::string& name) {
  const test::GoldenCase golden = test::load_golden(name);
  LoadOptions options = options_for(golden);
  options.folder = test::bundled(kind);
  const std::vector<float> got = bundled_logits(options, golden);
  options.device = "cpu";
  const std::vector<float> expected = bundled_logits(options, golden);
  // As golden_test holds the CPU to float32: the norm of the error over that of the logits. The largest error over the
  // largest logit is 1.07e-2 for D.
  if (!test::equal(got.size(), expected.size(), "logits")) return;
  test::close(got.data(), expected.data(), static_cast<int64_t>(expected.size()), kLimit, "logits");
  std::printf("nvlm-tiny-%-15s logits %.2e\n", kind.c_str(),
              relative_error(got.data(), expected.data(), expected.size()));
}

void check_step_rows() {
  LoadOptions options = options_for(test::load_golden("x-text-only"));
  const auto rows = [&](int context, int sequences) {
    options.context_length = context;
    options.max_sequences = sequences;
    return Model::describe(options).options.step_rows;
  };
  test::equal(rows(1024, 1), 1024, "rows of a step");
  test::equal(rows(64, 3), 192, "all that can come");
  test::equal(rows(1024, 8), 1024, "no more than fill the device");
  const uint64_t usual = Model::describe(options).memory.activations;
  options.step_rows = kShortStep;
  test::check(Model::describe(options).memory.activations < usual, "fewer rows need less memory");
}

// Through the engine, twice at once: what the prompt says with `step_rows`.
std::vector<test::Outcome> answers(const test::GoldenCase& golden, int step_rows) {
  test::EventLog log;
  Engine engine(options_for(golden, step_rows), log.sink());
  if (!test::equal(log.wait(0).code, std::string("loaded"), "load: " + log.now(0).message)) return {};
  std::vector<test::RgbImage> images;
  Request request = test::golden_request(golden, log.description()->config, images);
  request.max_tokens = 4;
  request.sampling.top_logprobs = 0;
  const uint64_t ids[] = {engine.submit(request), engine.submit(request)};
  constexpr std::chrono::seconds kPatience(900);  // an emulated answer takes seconds, on a busy machine minutes
  return {log.wait(ids[0], kPatience), log.wait(ids[1], kPatience)};
}

void check_engine(const std::string& name) {
  const test::GoldenCase golden = test::load_golden(name);
  test::check(static_cast<int>(golden.ids.size()) > kShortStep, "the prompt is longer than a step");
  const std::vector<test::Outcome> whole = answers(golden, 0), chunks = answers(golden, kShortStep);
  for (size_t i = 0; i < whole.size() && i < chunks.size(); ++i) {
    test::check(!chunks[i].ids.empty() && chunks[i].ids == whole[i].ids,
                "the same ids (" + chunks[i].code + " " + chunks[i].message + ")");
    for (size_t t = 0; t < std::min(whole[i].logprobs.size(), chunks[i].logprobs.size()); ++t) {
      // Other tiles may add in another order: a few roundings to bf16, far from what a wrong position or a lost key
      // does.
      const float got = chunks[i].logprobs[t].logprob, expected = whole[i].logprobs[t].logprob;
      test::check(std::abs(got - expected) <= 0.02f, "logprob " + std::to_string(t) + ": " + std::to_string(got) +
                                                         " in chunks, " + std::to_string(expected) + " at once");
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  // A sanitized build is ten times slower: it takes one case of each way that image tokens go.
  const std::vector<std::string> few = {"d-one-tile", "x-two-images", "h-one-tile"};
  for (const std::string& name : std::getenv("NVLM_SANITIZE") ? few : test::golden_names()) {
    if (argc > 1 && name.find(argv[1]) == std::string::npos) continue;
    test::run(name, [&] { check_case(name); });
  }
  // In the emulator alone: D is so near to the limit that another GPU's order of sums may cross it.
  const std::pair<std::string, std::string> bundled[] = {
      {"d", "d-one-tile"}, {"x", "x-six-tiles"}, {"h", "h-one-tile"}};
  for (const auto& [kind, name] : bundled) {
    if (std::getenv("NVLM_SANITIZE") || std::getenv("NVLM_CUDA_LIBRARY") ||
        (argc > 1 && ("nvlm-tiny-" + kind).find(argv[1]) == std::string::npos))
      continue;
    test::run("nvlm-tiny-" + kind, [&] { check_bundled(kind, name); });
  }
  if (argc > 1) return test::summary();
  test::run("a step takes as many rows as fill the device, or as can come", check_step_rows);
  if (std::getenv("NVLM_SANITIZE")) return test::summary();
  for (const std::string name : {"d-internvit300m-style", "x-forged-text"})
    test::run(name + ", in chunks", [&] { check_case(name, kShortStep); });
  test::run("in chunks through the engine", [] { check_engine("d-internvit300m-style"); });
  return test::summary();
}
