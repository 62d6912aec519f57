// Choosing tokens and cutting tiles on the device, in the emulator, against the host's own code: the same tokens, the
// same bytes.
//
// What could break: equal logits and their order, the ends of a filter (the k-th of many equals, top_p of nothing and
// of all, a min_p that only the likeliest meets), a draw at the ends, counts of tokens in prompt and answer, more rows
// than blocks, numbers that are none, pictures that are only resized along one axis or not at all.
#include <algorithm>
#include <limits>

#include "cuda/cut_tiles.h"
#include "cuda/launchers.h"
#include "host/sampling.h"
#include "image/resample.h"
#include "image/tiles.h"
#include "support/device_arrays.h"

using namespace nvlm;
using namespace nvlm::test;

namespace {

struct Choice {
  const char* name;
  nvlm_sampling options;
};

nvlm_sampling options(float temperature, int32_t top_k = 0, float top_p = 1, float min_p = 0, int32_t logprobs = -1) {
  nvlm_sampling o{};
  o.temperature = temperature, o.top_k = top_k, o.top_p = top_p, o.min_p = min_p, o.repetition_penalty = 1,
  o.top_logprobs = logprobs;
  return o;
}
nvlm_sampling penalised(nvlm_sampling o, float repetition, float presence, float frequency) {
  o.repetition_penalty = repetition, o.presence_penalty = presence, o.frequency_penalty = frequency;
  return o;
}

const Choice kChoices[] = {
    {"greedy", options(0)},
    {"greedy with logprobs", options(0, 0, 1, 0, 20)},
    {"greedy, the chosen one's logprob", options(-1, 0, 1, 0, 0)},
    {"greedy with penalties", penalised(options(0, 0, 1, 0, 3), 1.3f, 0.4f, 0.2f)},
    {"the whole distribution", options(1)},
    {"hot", options(3.5f)},
    {"cold", options(1e-3f)},
    {"top k", options(0.8f, 7)},
    {"top 1", options(0.8f, 1)},
    {"top k of more than there are", options(0.8f, 1 << 30)},
    {"top p", options(1, 0, 0.9f)},
    {"top p of nothing", options(1, 0, 0)},
    {"top p just below all", options(1, 0, 0.99999994f)},
    {"min p", options(1.2f, 0, 1, 0.05f)},
    {"min p above all", options(1.2f, 0, 1, 2)},
    {"all filters", options(0.9f, 50, 0.8f, 0.01f, 5)},
    {"all filters and penalties", penalised(options(0.9f, 50, 0.8f, 0.01f, 5), 1.1f, -0.3f, 0.15f)},
    {"repetition alone", penalised(options(1), 0.7f, 0, 0)},
    {"frequency alone", penalised(options(1), 1, 0, 0.9f)},
};

enum class Logits { normal, equal, coarse, extreme, zeros };

std::vector<float> logits_of(std::mt19937_64& random, Logits kind, size_t count) {
  std::vector<float> x = random_floats(random, count, 0, 3);
  for (float& v : x) {
    if (kind == Logits::equal) v = 1.5f;
    if (kind == Logits::coarse) v = std::round(v);  // many equals
    if (kind == Logits::extreme) v = random() % 3 ? (random() % 2 ? 3e38f : -3e38f) : v * 1e-40f;
    if (kind == Logits::zeros) v = random() % 2 ? 0.0f : -0.0f;
  }
  return x;
}

void on_host(const float* logits, int64_t vocab, const nvlm_sampling& options, nvlm_sampled* sampled) {
  nvlm_batch batch{};
  batch.sampling = &options, batch.sampled = sampled;
  host::Op op{};
  op.batch = &batch, op.in = logits, op.in_rows = 1, op.in_cols = vocab;
  op.threads = {[](void*, int64_t n, const std::function<void(int64_t, int)>& body) {
                  for (int64_t i = 0; i < n; ++i) body(i, 0);
                },
                nullptr, 1};
  std::vector<unsigned char> scratch(host::sample_scratch(op));
  op.scratch = scratch.data();
  host::sample(op);
}

// One batch: a row for each of `rows` draws from kChoices.
void batch(gpu::Stream stream, std::mt19937_64& random, int64_t vocab, Logits kind, std::vector<const Choice*> choices,
           bool poison_some) {
  const size_t outs = choices.size();
  std::vector<float> logits;
  std::vector<std::vector<int32_t>> history(outs);
  for (size_t r = 0; r < outs; ++r) {
    const std::vector<float> row = logits_of(random, kind, vocab);
    logits.insert(logits.end(), row.begin(), row.end());
    if (poison_some && r % 3 == 1) {
      const float bad[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                           -std::numeric_limits<float>::infinity()};
      logits[r * vocab + (r % 2 ? vocab - 1 : 0)] = bad[r % 9 / 3];
    }
    history[r].resize(random() % 700);
    for (int32_t& t : history[r])
      t = random() % 9 == 0   ? static_cast<int32_t>(vocab)
          : random() % 9 == 0 ? -1
                              : static_cast<int32_t>(random() % std::min<int64_t>(vocab, 40));
  }
  std::vector<int32_t> all(1, 0);
  for (const auto& h : history) all.insert(all.end(), h.begin(), h.end());
  const DeviceArray<int32_t> d_history(all, stream);

  std::vector<nvlm_sampling> sampling(outs);
  std::vector<nvlm_sampled> expected(outs);
  size_t at = 1;
  for (size_t r = 0; r < outs; ++r) {
    sampling[r] = choices[r]->options;
    sampling[r].seed = random(), sampling[r].step = random() % 1000;
    sampling[r].history = history[r].data(), sampling[r].history_len = static_cast<int32_t>(history[r].size());
    sampling[r].prompt_len = static_cast<int32_t>(history[r].size() / 2);
    on_host(&logits[r * vocab], vocab, sampling[r], &expected[r]);
    sampling[r].history = d_history.get() + at;
    at += history[r].size();
  }

  const DeviceArray<float> d_logits(logits, stream), scratch(gpu::sample_workspace(outs, vocab), stream);
  const DeviceArray<nvlm_sampling> d_sampling(sampling, stream);
  const DeviceArray<nvlm_sampled> d_sampled(outs, stream);
  gpu::Batch b{};
  b.outs = outs, b.sampling = d_sampling.get(), b.sampled = d_sampled.get();
  const gpu::Workspace workspace{scratch.get(), static_cast<int64_t>(scratch.count()), nullptr, 0};
  nvlm_record record{};
  record.op = NVLM_SAMPLE;
  gpu::Op op{};
  op.record = &record, op.batch = &b, op.workspace = &workspace, op.stream = stream;
  op.in = reinterpret_cast<const gpu::bf16*>(d_logits.get()), op.in_rows = outs, op.in_cols = vocab;
  expect_ok(gpu::enqueue_sample(op), "sample");

  const std::vector<nvlm_sampled> got = d_sampled.read();
  for (size_t r = 0; r < outs; ++r) {
    const nvlm_sampled &g = got[r], &e = expected[r];
    const std::string name =
        std::string(choices[r]->name) + ", " + std::to_string(vocab) + " tokens, row " + std::to_string(r);
    test::equal(g.token, e.token, name);
    test::equal(g.top_count, e.top_count, name + ": count of logprobs");
    // Sums in double of the same numbers, rounded to float32 once: the last bit may differ, and 1e-12 near zero, where
    // the logarithm cancels.
    const auto close = [](float x, float y) { return std::abs(x - y) <= std::abs(y) * 1.2e-7f + 1e-12f; };
    check(close(g.logprob, e.logprob),
          name + ": logprob " + std::to_string(g.logprob) + " for " + std::to_string(e.logprob));
    for (int i = 0; i < NVLM_MAX_TOP_LOGPROBS; ++i) {
      if (g.top_token[i] == e.top_token[i] && close(g.top_logprob[i], e.top_logprob[i])) continue;
      check(false, name + ": logprob " + std::to_string(i) + " is of token " + std::to_string(g.top_token[i]) +
                       ", not " + std::to_string(e.top_token[i]));
      break;
    }
  }
  const std::vector<float> after = d_logits.read();
  check(std::memcmp(after.data(), logits.data(), logits.size() * sizeof(float)) == 0, "the logits are untouched");
}

// ---- Tiles ----

void tiles(gpu::Stream stream, std::mt19937_64& random, int32_t width, int32_t height, int32_t columns, int32_t rows,
           int32_t side) {
  const std::string name = std::to_string(width) + " x " + std::to_string(height) + " to " + std::to_string(columns) +
                           " x " + std::to_string(rows) + " tiles of " + std::to_string(side);
  // Black and white next to each other, so that sums leave 0 .. 255.
  std::vector<uint8_t> rgb(size_t{3} * width * height);
  for (uint8_t& b : rgb) b = random() % 3 == 0 ? static_cast<uint8_t>(random()) : random() % 2 ? 255 : 0;
  std::vector<uint8_t> expected(size_t{3} * side * side * columns * rows);
  cut_tiles(rgb.data(), width, height, columns, rows, side, false, expected.data(),
            [](int64_t n, const std::function<void(int64_t)>& body) {
              for (int64_t i = 0; i < n; ++i) body(i);
            });

  AxisTaps across{}, down{};
  if (columns * side != width) across = bicubic_taps(width, columns * side);
  if (rows * side != height) down = bicubic_taps(height, rows * side);
  const DeviceArray<uint8_t> d_rgb(rgb, stream), out(expected.size(), stream);
  const DeviceArray<int32_t> d_across(gpu::flat_taps(across), stream), d_down(gpu::flat_taps(down), stream);
  gpu::Resize r{d_rgb.get(),
                width,
                height,
                columns,
                rows,
                side,
                gpu::taps_at(d_across.get(), across),
                gpu::taps_at(d_down.get(), down),
                nullptr,
                out.get(),
                stream};
  const DeviceArray<uint8_t> scratch(gpu::resize_scratch(r), stream);
  r.scratch = scratch.get();
  expect_ok(gpu::enqueue_resize(r), name);
  const std::vector<uint8_t> got = out.read();
  const auto off = std::mismatch(got.begin(), got.end(), expected.begin());
  check(off.first == got.end(),
        name + (off.first == got.end() ? std::string()
                                       : ": byte " + std::to_string(off.first - got.begin()) + " is " +
                                             std::to_string(*off.first) + ", not " + std::to_string(*off.second)));

  r.across.out += 1;
  test::equal(static_cast<int>(gpu::enqueue_resize(r)), static_cast<int>(gpu::Status::invalid),
              name + " with taps of another size");
}

std::vector<const Choice*> each_choice() {
  std::vector<const Choice*> all;
  for (const Choice& c : kChoices) all.push_back(&c);
  return all;
}

}  // namespace

int main() {
  using emulator::Completion;
  uint64_t seed = 0;
  for (const Completion completion : {Completion::random, Completion::early, Completion::late}) {
    emulator::Settings settings;
    settings.seed = ++seed, settings.completion = completion;
    std::mt19937_64 random(seed);
    run("the device chooses the host's token", [&] {
      on_device(settings, "sample", [&](gpu::Stream stream) {
        for (const int64_t vocab : {1, 2, 31, 513}) batch(stream, random, vocab, Logits::normal, each_choice(), false);
        for (const Logits kind : {Logits::equal, Logits::coarse, Logits::extreme, Logits::zeros})
          batch(stream, random, 530, kind, each_choice(), false);
        batch(stream, random, 700, Logits::normal, each_choice(), true);
        if (seed == 1) batch(stream, random, 3001, Logits::coarse, each_choice(), false);
        std::vector<const Choice*> many;  // more rows than blocks
        for (int i = 0; i < 40; ++i) many.push_back(&kChoices[i * 7 % std::size(kChoices)]);
        if (seed == 2) batch(stream, random, 100, Logits::normal, many, true);
        if (seed == 3) batch(stream, random, 151674, Logits::normal, {&kChoices[16]}, false);  // a real vocabulary
      });
    });
    run("the device cuts the host's tiles", [&] {
      on_device(settings, "tiles", [&](gpu::Stream stream) {
        tiles(stream, random, 97, 61, 2, 1, 28);  // smaller
        tiles(stream, random, 33, 47, 3, 2, 28);  // larger
        tiles(stream, random, 56, 91, 2, 2, 28);  // only down
        tiles(stream, random, 90, 56, 2, 2, 28);  // only across
        tiles(stream, random, 56, 28, 2, 1, 28);  // neither
        tiles(stream, random, 50, 41, 3, 1, 15);  // no whole words
        tiles(stream, random, 30, 45, 2, 3, 15);  // neither width nor words
        tiles(stream, random, 1, 1, 1, 1, 9);
        tiles(stream, random, 401, 3, 1, 2, 4);  // many taps
      });
    });
  }
  return summary();
}
