// Whole steps through the CUDA library: what no op's own test can show, since it takes several launches. Those of a
// step overlap, use the same tensors and workspace again, and what one of them forgets to wait for another one may
// spoil.
//
// Each schedule of the emulator runs in a process of its own, with every access of a kernel watched: no fault, and the
// same bits as in the first one, where nothing overlaps. That these are right is for cuda_golden_test.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "model/model.h"
#include "support/check.h"
#include "support/emulator_library.h"

namespace {

using namespace nvlm;

constexpr int kSequences = 6, kPagesEach = 2, kCrossTokens = 5;

// A model and some sequences on it, each with two pages.
class Steps {
 public:
  explicit Steps(const std::string& name) {
    LoadOptions o;
    o.folder = std::string(NVLM_SOURCE_DIR) + "/test/golden/" + name;
    o.device = "emulator";
    o.cuda_library = test::emulator_library();
    o.max_sequences = kSequences;
    o.context_length = kPagesEach * NVLM_PAGE_KEYS;
    model_ = Model::load(o, nullptr, nullptr);
    encode();
    if (model_->cross_page_count() > 0) project_cross();
  }
  ~Steps() { model_->free_image(image_, 1); }

  // One step: `count` new tokens for each of some sequences. Logits of each sequence's last row, and the tokens if some
  // are sampled, are added to `results`.
  void run(int first_sequence, int sequences, int count, bool sample) {
    const int rows = sequences * count;
    std::vector<const void*> source(static_cast<size_t>(rows), nullptr);
    std::vector<int32_t> token, position, zeros(static_cast<size_t>(rows), 0), self_end, cross_end, row_begin{0},
        out_row;
    std::vector<int32_t> self_begin{0}, self_page, self_fill, cross_begin{0}, cross_page, cross_fill;
    std::vector<int64_t> slot;
    std::vector<nvlm_sampling> sampling;
    source[0] = image_;
    for (int s = first_sequence; s < first_sequence + sequences; ++s) {
      int& length = length_[s];
      for (int i = 0; i < count; ++i, ++length) {
        token.push_back((17 * s + 5 * length) % 50);
        position.push_back(length);
        slot.push_back(int64_t{kPagesEach * s + length / NVLM_PAGE_KEYS} * NVLM_PAGE_KEYS + length % NVLM_PAGE_KEYS);
        self_end.push_back(length + 1);
        cross_end.push_back(has_cross() && s % 3 != 1 ? kCrossTokens : 0);
      }
      row_begin.push_back(row_begin.back() + count);
      out_row.push_back(row_begin.back() - 1);
      for (int key = 0; key < length; key += NVLM_PAGE_KEYS) {
        self_page.push_back(kPagesEach * s + key / NVLM_PAGE_KEYS);
        self_fill.push_back(std::min(length - key, NVLM_PAGE_KEYS));
      }
      self_begin.push_back(static_cast<int32_t>(self_page.size()));
      cross_page.push_back(0);
      cross_fill.push_back(kCrossTokens);
      cross_begin.push_back(static_cast<int32_t>(cross_page.size()));
      sampling.push_back(sampling_of(s));
    }
    std::vector<nvlm_sampled> sampled(static_cast<size_t>(sequences));
    nvlm_batch batch{};
    batch.rows = rows;
    batch.outs = batch.sequences = sequences;
    batch.token = token.data();
    batch.source = source.data();
    batch.position = position.data();
    batch.kv_slot = slot.data();
    batch.self_begin = batch.cross_begin = zeros.data();
    batch.self_end = self_end.data();
    batch.cross_end = cross_end.data();
    batch.row_begin = row_begin.data();
    batch.self_pages = {self_begin.data(), self_page.data(), self_fill.data()};
    if (has_cross()) batch.cross_pages = {cross_begin.data(), cross_page.data(), cross_fill.data()};
    batch.out_row = out_row.data();
    batch.sampling = sampling.data();
    batch.sampled = sample ? sampled.data() : nullptr;
    model_->step(batch, has_cross(), nullptr);

    const size_t before = results.size(), vocab = static_cast<size_t>(model_->config().decoder.vocab);
    results.resize(before + static_cast<size_t>(sequences) * vocab);
    model_->read_logits(results.data() + before, sequences);
    for (const nvlm_sampled& s : sampled) results.push_back(static_cast<float>(s.token));  // 0 where none is wanted
  }

  std::vector<float> results;

 private:
  bool has_cross() const { return model_->cross_page_count() > 0; }

  void encode() {
    const int side = model_->config().tile_size;
    std::vector<uint8_t> pixels(static_cast<size_t>(3) * side * side);
    for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * 31 + i / 97);
    image_ = model_->alloc_image(1);
    model_->encode(pixels.data(), 1, image_, nullptr);
  }

  void project_cross() {
    const int32_t token[kCrossTokens] = {3, 0, 1, 4, 2};
    const void* source[kCrossTokens] = {nullptr, image_, nullptr, nullptr, nullptr};
    const int64_t slot[kCrossTokens] = {0, 1, 2, 3, 4};
    nvlm_batch batch{};
    batch.rows = kCrossTokens;
    batch.token = token;
    batch.source = source;
    batch.kv_slot = slot;
    model_->project_cross(batch, nullptr);
  }

  // Greedy, drawn, or drawn with penalties, whose counts take the workspace.
  static nvlm_sampling sampling_of(int sequence) {
    static constexpr int32_t kHistory[] = {1, 2, 3, 2};
    nvlm_sampling s{};
    s.top_p = s.repetition_penalty = 1;
    s.top_logprobs = -1;
    if (sequence % 3 > 0) s.temperature = 0.8f, s.top_p = 0.9f, s.seed = 7;
    if (sequence % 3 > 1) s.repetition_penalty = 1.3f, s.history = kHistory, s.history_len = 4, s.prompt_len = 2;
    return s;
  }

  std::unique_ptr<Model> model_;
  void* image_ = nullptr;
  int length_[kSequences] = {};
};

// A prompt for each sequence, one of them over two pages, then steps of one row each: 1 to 4 rows are launches of few
// rows and graphs, more are tiles.
std::vector<float> run_steps(const std::string& name) {
  Steps steps(name);
  for (int s = 0; s < kSequences; ++s) steps.run(s, 1, s == 0 ? NVLM_PAGE_KEYS + 2 : 2 + s, false);
  for (const int rows : {1, 2, 3, 4, kSequences}) {
    for (int step = 0; step < 3; ++step) steps.run(0, rows, 1, rows == 3);  // plain, recorded, replayed
  }
  return steps.results;
}

// ---- In a process of its own ----

struct Outcome {
  std::vector<float> results;
  std::string error;
};

void write_all(int file, const void* data, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    const ssize_t some = write(file, static_cast<const char*>(data) + done, bytes - done);
    if (some <= 0) _exit(3);
    done += static_cast<size_t>(some);
  }
}

// The emulator takes its schedule from the environment when the library is opened.
Outcome run_apart(const std::string& name, const char* seed, const char* completion) {
  int ends[2];
  if (pipe(ends) != 0) return {{}, "no pipe"};
  const pid_t child = fork();
  if (child == 0) {
    setenv("NVLM_EMULATOR_SEED", seed, 1);
    setenv("NVLM_EMULATOR_COMPLETION", completion, 1);
    Outcome o;
    try {
      o.results = run_steps(name);
    } catch (const std::exception& error) {
      o.error = error.what();
    }
    const char kind = o.error.empty() ? 'r' : 'e';
    write_all(ends[1], &kind, 1);
    if (o.error.empty()) write_all(ends[1], o.results.data(), o.results.size() * sizeof(float));
    write_all(ends[1], o.error.data(), o.error.size());
    _exit(0);
  }
  close(ends[1]);
  std::string all;
  char buffer[65536];
  for (ssize_t some; (some = read(ends[0], buffer, sizeof buffer)) > 0;) all.append(buffer, static_cast<size_t>(some));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  Outcome o;
  if (status != 0 || all.empty()) return {{}, "the process ended with status " + std::to_string(status)};
  if (all[0] == 'e') return {{}, all.substr(1)};
  o.results.resize((all.size() - 1) / sizeof(float));
  std::memcpy(o.results.data(), all.data() + 1, o.results.size() * sizeof(float));
  return o;
}

void check_model(const std::string& name) {
  const Outcome truth = run_apart(name, "1", "late");
  if (!test::equal(truth.error, std::string(), "late")) return;
  for (const float x : truth.results) {
    if (!std::isfinite(x)) return void(test::check(false, "a logit is not finite"));
  }
  const std::pair<const char*, const char*> schedules[] = {{"2", "early"}, {"3", "random"}};
  for (const auto& [seed, completion] : schedules) {
    const std::string at = std::string(completion) + " " + seed;
    const Outcome o = run_apart(name, seed, completion);
    if (!test::equal(o.error, std::string(), at)) return;
    const bool same = o.results.size() == truth.results.size() &&
                      std::memcmp(o.results.data(), truth.results.data(), truth.results.size() * sizeof(float)) == 0;
    test::check(same, at + ": other bits than where nothing overlaps");
  }
}

}  // namespace

int main(int argc, char** argv) {
  for (const char* name : {"d-internvit300m-style", "h-head128-sharded"}) {
    if (argc > 1 && std::strstr(name, argv[1]) == nullptr) continue;
    test::run(name, [&] { check_model(name); });
  }
  return test::summary();
}
