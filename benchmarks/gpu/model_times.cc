// How fast does a whole model encode an image, read a prompt and write an answer? One checkpoint (random_model.py makes them), one line.
//
//   model_times FOLDER NAME [--device cuda|emulator|cpu] [--text N] [--tiles N] [--decode N] [--check] [--json FILE]
//
// The image of N tiles, thumbnail included, is encoded alone; then a prompt of it and N text tokens is read in chunks; then N tokens are written, one a
// step, each with its logits read by the host (sampling would read a word). Wall-clock times, medians of three runs; of decoding, of all steps. --check:
// a short prompt's logits are compared with those of the CPU. Logits that differ from run to run, or are not finite, are an error too.
// The library is NVLM_CUDA_LIBRARY. The line is appended to the JSON file, an object a line.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <stdexcept>

#include "platform/error.h"
#include "support/golden_sequence.h"

namespace {

using namespace nvlm;

// Both sides round, one of them to bf16 after every op: a coarse limit for the wiring of whole models. Ops are held to their own.
constexpr double kLimit = 5e-2;

struct Options {
  std::string folder, name, device = "cuda";
  int text = 1024, tiles = 7, decode = 64;
  bool check = false;
  const char* json = nullptr;
};

std::unique_ptr<Model> load_model(const Options& o, const std::string& device) {
  const char* library = std::getenv("NVLM_CUDA_LIBRARY");
  LoadOptions load;
  load.folder = o.folder;
  load.device = device;
  load.cuda_library = library ? library : "";
  load.context_length = 4096;
  load.max_sequences = 1;
  load.max_images = 1;
  return Model::load(load, nullptr, nullptr);
}

// A prompt in the form of a golden case: the image's block as its family has it, then text.
test::GoldenCase prompt_case(const ModelConfig& config, int tiles, int text) {
  std::vector<int32_t> ids;
  const auto add = [&](const std::vector<int32_t>& more) { ids.insert(ids.end(), more.begin(), more.end()); };
  for (int tile = 0; tile < tiles; ++tile) {
    const bool thumbnail = tile == tiles - 1;
    if (config.family == Family::X) {
      add(thumbnail ? test::kThumbnailTag : test::tile_tag(tile + 1));
    } else if (config.family == Family::D || thumbnail) {
      add(std::vector<int32_t>(static_cast<size_t>(config.tokens_per_tile()), test::kPad));
    }
  }
  if (tiles > 0) add(test::kImageEnd);
  for (int i = 0; i < text; ++i) ids.push_back(400 + i * 7919 % (config.decoder.vocab - 400));
  test::GoldenCase golden;
  golden.name = "prompt";
  golden.json = {{"input_ids", ids}, {"images", nlohmann::json::array()}};
  if (tiles == 0) return golden;
  golden.json["images"].push_back("image");
  const int64_t side = config.tile_size;
  test::GoldenTensor pixels{"U8", {tiles, side, side, 3}, std::vector<char>(static_cast<size_t>(tiles * side * side * 3))};
  for (size_t i = 0; i < pixels.bytes.size(); ++i) pixels.bytes[i] = static_cast<char>(i * 2654435761u >> 24);
  golden.tensors["tiles1"] = std::move(pixels);
  return golden;
}

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> times) {
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

void expect_finite(const std::vector<float>& logits, const std::string& what) {
  for (const float x : logits) {
    if (!std::isfinite(x)) throw std::runtime_error(what + " are not finite");
  }
}

// The largest error as a share of the largest value.
double against_cpu(const Options& o, Model& model) {
  const std::unique_ptr<Model> cpu = load_model(o, "cpu");
  const test::GoldenCase golden = prompt_case(model.config(), std::min(o.tiles, 2), 12);
  test::GoldenSequence ours(model, golden), theirs(*cpu, golden);
  const std::vector<float> got = ours.prefill(1), expected = theirs.prefill(1);
  double error = 0, size = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (!std::isfinite(got[i]) || !std::isfinite(expected[i])) return INFINITY;
    error = std::max(error, std::abs(static_cast<double>(got[i]) - expected[i]));
    size = std::max(size, std::abs(static_cast<double>(expected[i])));
  }
  return error / size;
}

int run(const Options& o) {
  std::unique_ptr<Model> model;
  const double loading = seconds_of([&] { model = load_model(o, o.device); });
  const double error = o.check ? against_cpu(o, *model) : 0;
  if (!(error <= kLimit)) throw std::runtime_error("logits differ from the CPU's by " + std::to_string(error));

  const test::GoldenCase golden = prompt_case(model->config(), o.tiles, o.text);
  std::vector<double> encoding, reading, writing;
  std::vector<float> first;
  if (o.tiles > 0) {
    const uint8_t* pixels = golden["tiles1"].u8();
    void* tokens = model->alloc_image(o.tiles);
    for (int i = 0; i < 4; ++i) {
      const double seconds = seconds_of([&] { model->encode(pixels, o.tiles, tokens, nullptr); });
      if (i > 0) encoding.push_back(seconds);
    }
    model->free_image(tokens, o.tiles);
  }
  int positions = 0;
  for (int i = 0; i < 3; ++i) {
    test::GoldenSequence sequence(*model, golden);
    positions = static_cast<int>(sequence.prompt().ids.size());
    std::vector<float> logits;
    reading.push_back(seconds_of([&] { logits = sequence.prefill(1); }));
    expect_finite(logits, "the prompt's logits");
    if (first.empty()) first = logits;
    if (std::memcmp(first.data(), logits.data(), first.size() * sizeof(float)) != 0) throw std::runtime_error("the same prompt has other logits the second time");
    for (int step = 0; i == 2 && step < o.decode + 4; ++step) {
      const auto token = static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
      const double seconds = seconds_of([&] { logits = sequence.run({token}, positions + step, 1); });
      if (step >= 4) writing.push_back(seconds);  // the first ones record graphs
    }
    expect_finite(logits, "the answer's logits");
  }
  const double encode = encoding.empty() ? 0 : median(encoding), prefill = median(reading), decode = median(writing);
  std::printf("%-22s load %6.1f s  encode %d tiles %8.2f ms  prompt of %d %8.2f ms (%8.0f tokens/s)  a token %7.3f ms (%6.1f/s)", o.name.c_str(), loading, o.tiles, encode * 1e3, positions,
              prefill * 1e3, positions / prefill, decode * 1e3, 1 / decode);
  if (o.check) std::printf("  %.1e off the CPU", error);
  std::printf("\n1 timed, 0 wrong\n");
  if (o.json) {
    std::ofstream out(o.json, std::ios::app);
    out << "{\"name\": \"" << o.name << "\", \"device\": \"" << o.device << "\", \"positions\": " << positions << ", \"text\": " << o.text << ", \"tiles\": " << o.tiles
        << ", \"weight_bytes\": " << model->measured().weights << ", \"encode_ms\": " << encode * 1e3 << ", \"prefill_ms\": " << prefill * 1e3 << ", \"token_ms\": " << decode * 1e3
        << ", \"error\": " << error << "}\n";
    if (!out.flush()) throw std::runtime_error(std::string("cannot write ") + o.json);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  int plain = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const char* next = i + 1 < argc ? argv[i + 1] : "";
    if (word == "--check") {
      o.check = true;
    } else if (word.rfind("--", 0) == 0) {
      ++i;
      if (word == "--device") o.device = next;
      if (word == "--text") o.text = std::atoi(next);
      if (word == "--tiles") o.tiles = std::atoi(next);
      if (word == "--decode") o.decode = std::atoi(next);
      if (word == "--json") o.json = next;
    } else {
      (plain++ ? o.name : o.folder) = word;
    }
  }
  try {
    return run(o);
  } catch (const std::exception& error) {
    std::printf("%s: WRONG: %s\n", o.name.c_str(), error.what());
    return 1;
  }
}
