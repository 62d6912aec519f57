// Choosing tokens and cutting tiles on the device, in the emulator, against the reference and the host's own code: the
// same tokens, the same bytes.
//
// What could break: equal logits and their order, the ends of a filter (the k-th of many equals, top_p of nothing and
// of all, a min_p that only the likeliest meets), a draw at the ends, counts of tokens in prompt and answer, more rows
// than blocks, numbers that are none, pictures that are only resized along one axis or not at all.
#include <algorithm>
#include <limits>

#include "cases/cases.h"
#include "cuda/cut_tiles.h"
#include "cuda/launchers.h"
#include "image/cut_tiles.h"
#include "image/resample.h"
#include "reference/kernels.h"
#include "support/device_arrays.h"

using namespace nvlm;
using namespace nvlm::test;

namespace {

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

void by_reference(const float* logits, int64_t vocab, const nvlm_sampling& options, nvlm_sampled* sampled) {
  nvlm_batch batch{};
  batch.sampling = &options, batch.sampled = sampled;
  host::Op op{};
  op.batch = &batch, op.in = logits, op.in_rows = 1, op.in_cols = vocab;
  std::vector<unsigned char> scratch(reference::sample_scratch(op));
  op.scratch = scratch.data();
  reference::sample(op);
}

// One batch: a row for each of `rows` draws from sampling_choices().
void batch(gpu::Stream stream, std::mt19937_64& random, int64_t vocab, Logits kind,
           std::vector<const SamplingChoice*> choices, bool poison_some) {
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
    by_reference(&logits[r * vocab], vocab, sampling[r], &expected[r]);
    sampling[r].history = d_history.get() + at;
    at += history[r].size();
  }

  const DeviceArray<float> d_logits(logits, stream), scratch(gpu::sample_workspace(outs, vocab), stream);
  const DeviceArray<nvlm_sampling> d_sampling(sampling, stream);
  const DeviceArray<nvlm_sampled> d_sampled(outs, stream);
  gpu::DeviceBatch b{};
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
    const std::string wrong = sampled_difference(got[r], expected[r]);
    check(wrong.empty(), std::string(choices[r]->name) + ", " + std::to_string(vocab) + " tokens, row " +
                             std::to_string(r) + ": " + wrong);
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

std::vector<const SamplingChoice*> each_choice() {
  std::vector<const SamplingChoice*> all;
  for (const SamplingChoice& c : sampling_choices()) all.push_back(&c);
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
    run("the device chooses the reference's token", [&] {
      on_device(settings, "sample", [&](gpu::Stream stream) {
        for (const int64_t vocab : {1, 2, 31, 513}) batch(stream, random, vocab, Logits::normal, each_choice(), false);
        for (const Logits kind : {Logits::equal, Logits::coarse, Logits::extreme, Logits::zeros})
          batch(stream, random, 530, kind, each_choice(), false);
        batch(stream, random, 700, Logits::normal, each_choice(), true);
        if (seed == 1) batch(stream, random, 3001, Logits::coarse, each_choice(), false);
        std::vector<const SamplingChoice*> many;  // more rows than blocks
        for (int i = 0; i < 40; ++i) many.push_back(&sampling_choices()[i * 7 % sampling_choices().size()]);
        if (seed == 2) batch(stream, random, 100, Logits::normal, many, true);
        if (seed == 3)
          batch(stream, random, 151674, Logits::normal, {&sampling_choices()[16]}, false);  // a real vocabulary
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
