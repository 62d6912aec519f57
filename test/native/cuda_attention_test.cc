// The CUDA attention kernels in the emulator, against a softmax in double over the same bf16 inputs.
//
// What could break: tails of tiles and pages, intervals that begin or end within a page, rows that see nothing, stale
// keys, pages in any order, the wrong head of a group, a share of pages that is empty, the merge of shares, workspace
// that is not set back.
#include <algorithm>
#include <cstdio>

#include "cuda/kernels/attention_choice.cuh"
#include "support/launcher_fixture.h"

using namespace nvlm;
using namespace nvlm::test;
using gpu::bf16;

namespace {

// One row and head: keys[i], values[i] are rows of d elements.
//
// Limit: rounding of the result (2^-8 of it) and of the weights (2^-8 of each, so of the sum of |weight * value|); a
// score is a float sum of d products, within d * 2^-24 of their magnitudes, and the weight moves by as much (relative;
// twice, since the maximum moves too); n additions of weights and values.
void attend(const bf16* q, const std::vector<const bf16*>& keys, const std::vector<const bf16*>& values, int32_t d,
            double* out, double* limit) {
  std::fill_n(out, d, 0.0);
  std::fill_n(limit, d, 1e-30);
  if (keys.empty()) return;
  std::vector<double> score;
  double most = -INFINITY, total = 0, largest = 0;
  for (const bf16* key : keys) {
    double sum = 0, size = 0;
    for (int32_t i = 0; i < d; ++i) {
      const double product = static_cast<double>(to_float(q[i])) * to_float(key[i]);
      sum += product, size += std::abs(product);
    }
    score.push_back(sum / std::sqrt(d));
    most = std::max(most, score.back()), largest = std::max(largest, size / std::sqrt(d));
  }
  for (double& s : score) total += s = std::exp(s - most);
  const double relative = kRound + (2 * d * largest + 2 * static_cast<double>(keys.size()) + 64) * kFloat;
  for (int32_t i = 0; i < d; ++i) {
    double sum = 0, size = 0;
    for (size_t k = 0; k < keys.size(); ++k)
      sum += score[k] / total * to_float(values[k][i]), size += score[k] / total * std::abs(to_float(values[k][i]));
    out[i] = sum;
    limit[i] = std::abs(sum) * kRound + size * relative + 1e-30;
  }
}

struct Fixture : LauncherFixture {
  Fixture(gpu::Stream stream, int32_t heads, int32_t kv_heads, int32_t d) : LauncherFixture(stream) {
    record.op = NVLM_ATTENTION;
    record.c.heads = heads, record.c.kv_heads = kv_heads, record.c.head_dim = d;
  }
};

std::string shape_of(int32_t heads, int32_t kv_heads, int32_t d) {
  return std::to_string(heads) + "/" + std::to_string(kv_heads) + " heads of " + std::to_string(d);
}

using Launcher = gpu::Status (*)(const gpu::Op&);

// With `growth` the later keys are longer by so much each, so that larger scores keep coming, for some rows; 0: all
// alike.
void tile(gpu::Stream stream, std::mt19937_64& random, Launcher launcher, int32_t tiles, int32_t rows_each,
          int32_t heads, int32_t d, float growth = 0) {
  const int64_t width = int64_t{heads} * d, cols = 3 * width, rows = int64_t{tiles} * rows_each;
  std::vector<bf16> in = random_bf16(random, rows * cols);
  for (int64_t i = 0; growth > 0 && i < rows * cols; ++i) {
    if (i % cols / width == 1)
      in[i] = gpu::to_bf16(to_float(in[i]) * (1 + growth * static_cast<float>(i / cols % rows_each)));
  }
  const DeviceArray<bf16> d_in(in, stream), d_out(rows * width, stream);
  Fixture f(stream, heads, heads, d);
  f.record.c.source = NVLM_KEYS_TILE, f.record.c.rows_each = rows_each;
  f.batch.tiles = tiles;
  f.op.in = d_in.get(), f.op.in_rows = f.op.out_rows = rows, f.op.in_cols = cols, f.op.out = d_out.get(),
  f.op.out_cols = width;
  expect_ok(launcher(f.op), "attention");
  std::vector<double> expected(rows * width), limit(rows * width);
  for (int64_t r = 0; r < rows; ++r) {
    for (int32_t h = 0; h < heads; ++h) {
      std::vector<const bf16*> keys, values;
      for (int64_t k = r / rows_each * rows_each; k < (r / rows_each + 1) * rows_each; ++k) {
        keys.push_back(&in[k * cols + width + h * d]);
        values.push_back(&in[k * cols + 2 * width + h * d]);
      }
      attend(&in[r * cols + h * d], keys, values, d, &expected[r * width + h * d], &limit[r * width + h * d]);
    }
  }
  within(d_out.read(), expected, limit, width,
         "tiles of " + std::to_string(rows_each) + " rows, " + shape_of(heads, heads, d));
}

struct Row {
  int32_t begin, end;
};
struct Sequence {
  std::vector<int32_t> fill;  // of its pages
  std::vector<Row> rows;
};

enum class Way { chosen, any };

void paged(gpu::Stream stream, std::mt19937_64& random, Way way, nvlm_key_source source,
           const std::vector<Sequence>& sequences, int32_t heads, int32_t kv_heads, int32_t d,
           int multiprocessors = 4) {
  // Pages in random order among stale ones, all filled with NaN where no key lies.
  int32_t page_count = 3;
  int64_t rows = 0;
  bool one_row_each = true;
  for (const Sequence& s : sequences)
    page_count += static_cast<int32_t>(s.fill.size()), rows += static_cast<int64_t>(s.rows.size()),
        one_row_each = one_row_each && s.rows.size() == 1;
  std::vector<int32_t> free_pages(page_count);
  for (int32_t i = 0; i < page_count; ++i) free_pages[i] = i;
  std::shuffle(free_pages.begin(), free_pages.end(), random);
  const int32_t layers = 2, layer = 1;
  const int64_t page_elements = int64_t{kv_heads} * NVLM_PAGE_KEYS * d;
  std::vector<bf16> memory(layers * 2 * page_count * page_elements, bf16{0x7fff});
  const auto key_at = [&](bool value, int32_t page, int32_t place, int32_t head) {
    return &memory[((int64_t{2} * layer + value) * page_count + page) * page_elements +
                   (int64_t{head} * NVLM_PAGE_KEYS + place) * d];
  };

  // Lists, intervals, tiles as the engine makes them.
  std::vector<int32_t> begin_list{0}, page_list, fill_list, first_list, row_begin, row_end, row_sequence;
  std::vector<gpu::RowTile> tiles;
  const int32_t group = heads / kv_heads;
  for (size_t s = 0; s < sequences.size(); ++s) {
    const Sequence& sequence = sequences[s];
    const auto first_page = static_cast<int32_t>(page_list.size());
    int32_t number = 0;
    for (const int32_t fill : sequence.fill) {
      page_list.push_back(free_pages[page_list.size()]), fill_list.push_back(fill), first_list.push_back(number);
      number += fill;
      for (int32_t h = 0; h < kv_heads; ++h) {
        const std::vector<bf16> fresh = random_bf16(random, 2 * static_cast<size_t>(fill) * d);
        std::copy_n(fresh.begin(), fill * d, key_at(false, page_list.back(), 0, h));
        std::copy_n(fresh.begin() + fill * d, fill * d, key_at(true, page_list.back(), 0, h));
      }
    }
    begin_list.push_back(static_cast<int32_t>(page_list.size()));
    for (size_t first = 0; first < sequence.rows.size();) {
      gpu::RowTile t{static_cast<int32_t>(s), static_cast<int32_t>(row_begin.size()), 0, 0, 0};
      int32_t least = number, most = 0;
      for (; first < sequence.rows.size() && t.rows < gpu::rows_per_tile(heads, kv_heads); ++first, ++t.rows) {
        const Row row = sequence.rows[first];
        row_begin.push_back(row.begin), row_end.push_back(row.end), row_sequence.push_back(static_cast<int32_t>(s));
        if (row.begin < row.end) least = std::min(least, row.begin), most = std::max(most, row.end);
      }
      t.first_page = t.last_page = first_page;
      for (int32_t p = first_page; p < begin_list.back(); ++p) {
        if (first_list[p] + fill_list[p] <= least || first_list[p] >= most) continue;
        if (t.last_page == first_page) t.first_page = p;
        t.last_page = p + 1;
      }
      tiles.push_back(t);
    }
  }

  const int64_t extra = source == NVLM_KEYS_SELF ? int64_t{2} * kv_heads * d : 0, in_cols = int64_t{heads} * d + extra,
                width = int64_t{heads} * d;
  const std::vector<bf16> in = random_bf16(random, rows * in_cols);
  const DeviceArray<bf16> d_in(in, stream), d_out(rows * width, stream), d_memory(memory, stream);
  const DeviceArray<int32_t> d_begin_list(begin_list, stream), d_page(page_list, stream), d_fill(fill_list, stream),
      d_first(first_list, stream), d_begin(row_begin, stream), d_end(row_end, stream), d_sequence(row_sequence, stream);
  const DeviceArray<gpu::RowTile> d_tiles(tiles, stream);
  Fixture f(stream, heads, kv_heads, d);
  f.device.multiprocessors = multiprocessors;
  f.record.c.source = source, f.record.c.layer = layer;
  f.batch.rows = rows, f.batch.sequences = static_cast<int32_t>(sequences.size()), f.batch.one_row_each = one_row_each,
  f.batch.row_sequence = d_sequence.get();
  const gpu::KvCache kv{d_memory.get(), layers, page_count, kv_heads, d};
  const gpu::PageList list{d_begin_list.get(), d_page.get(), d_fill.get(), d_first.get()};
  if (source == NVLM_KEYS_SELF) {
    f.op.self_kv = kv, f.batch.self_pages = list, f.batch.self_begin = d_begin.get(), f.batch.self_end = d_end.get();
    f.batch.self_tiles = d_tiles.get(), f.batch.self_tile_count = static_cast<int32_t>(tiles.size());
  } else {
    f.op.cross_kv = kv, f.batch.cross_pages = list, f.batch.cross_begin = d_begin.get(),
    f.batch.cross_end = d_end.get();
    f.batch.cross_tiles = d_tiles.get(), f.batch.cross_tile_count = static_cast<int32_t>(tiles.size());
  }
  f.op.in = d_in.get(), f.op.in_rows = f.op.out_rows = rows, f.op.in_cols = in_cols, f.op.out = d_out.get(),
  f.op.out_cols = width;
  const gpu::WorkspaceNeed need = gpu::attention_workspace(f.device, rows, heads, kv_heads, d);
  const DeviceArray<float> d_floats(static_cast<size_t>(need.floats), stream);
  const DeviceArray<uint32_t> d_counters(std::vector<uint32_t>(static_cast<size_t>(need.counters), 0), stream);
  f.workspace = {d_floats.get(), need.floats, d_counters.get(), need.counters};

  std::vector<double> expected(rows * width), limit(rows * width);
  for (int64_t r = 0; r < rows; ++r) {
    for (int32_t h = 0; h < heads; ++h) {
      std::vector<const bf16*> keys, values;
      const int32_t s = row_sequence[r];
      for (int32_t p = begin_list[s]; p < begin_list[s + 1]; ++p) {
        for (int32_t i = 0; i < fill_list[p]; ++i) {
          if (first_list[p] + i < row_begin[r] || first_list[p] + i >= row_end[r]) continue;
          keys.push_back(key_at(false, page_list[p], i, h / group));
          values.push_back(key_at(true, page_list[p], i, h / group));
        }
      }
      attend(&in[r * in_cols + h * d], keys, values, d, &expected[r * width + h * d], &limit[r * width + h * d]);
    }
  }
  const std::string what = std::string(one_row_each ? "decode, " : "prefill, ") + (way == Way::any ? "any, " : "") +
                           shape_of(heads, kv_heads, d) + ", " + std::to_string(rows) + " rows";
  expect_ok(way == Way::any ? gpu::enqueue_attention_any(f.op) : gpu::enqueue_attention(f.op), what);
  const std::vector<bf16> got = d_out.read();
  within(got, expected, limit, width, what);
  // Twice more over the counters that the first left, with the same bits; the last one may overlap with the one before
  // it.
  expect_ok(gpu::fill(d_out.get(), 0xff, rows * width * 2, stream), "fill");
  expect_ok(gpu::fill(d_floats.get(), 0xff, need.floats * 4, stream), "fill");
  for (int i = 0; i < 2; ++i)
    expect_ok(way == Way::any ? gpu::enqueue_attention_any(f.op) : gpu::enqueue_attention(f.op), what);
  same_bits(d_out.read(), got, width, what + ", again");
}

// Anything: pages filled anyhow, also not at all, intervals anywhere.
std::vector<Sequence> random_sequences(std::mt19937_64& random, int32_t most_rows) {
  std::vector<Sequence> sequences(1 + random() % 3);
  for (Sequence& s : sequences) {
    int32_t keys = 0;
    s.fill.resize(random() % 6);
    for (int32_t& fill : s.fill) keys += fill = random() % 3 ? static_cast<int32_t>(random() % 65) : 64;
    s.rows.resize(1 + random() % most_rows);
    for (Row& row : s.rows)
      row = {static_cast<int32_t>(random() % (keys + 1)), static_cast<int32_t>(random() % (keys + 1))};
  }
  return sequences;
}

// What no kernel takes is refused, and nothing to do is done.
void refused(gpu::Stream stream) {
  Fixture f(stream, 4, 3, 64);
  f.op.in_rows = 1;
  test::equal(gpu::enqueue_attention(f.op) == gpu::Status::invalid, true, "heads that kv heads do not divide");
  f.record.c.kv_heads = 4, f.record.c.head_dim = 60;
  test::equal(gpu::enqueue_attention(f.op) == gpu::Status::invalid, true, "a head size that is no multiple of 8");
  f.record.c.head_dim = 64, f.record.c.source = NVLM_KEYS_TILE, f.record.c.rows_each = 2, f.op.in_cols = 3 * 256;
  test::equal(gpu::enqueue_attention(f.op) == gpu::Status::invalid, true, "rows that are no whole tiles");
  f.op.in_rows = 0;
  test::equal(gpu::enqueue_attention(f.op) == gpu::Status::ok, true, "no rows");
  test::equal(emulator::counters().launches, uint64_t{0}, "launches");
}

// Rows that follow `past` keys and see themselves and all before.
Sequence causal(int32_t past, int32_t rows) {
  Sequence s;
  for (int32_t left = past + rows; left > 0; left -= 64) s.fill.push_back(std::min(left, 64));
  for (int32_t r = 0; r < rows; ++r) s.rows.push_back({0, past + r + 1});
  return s;
}

}  // namespace

int main() {
  std::printf("kernels %s memory hooks\n", emulator::instrumented() ? "with" : "without");
  const emulator::Completion completions[] = {emulator::Completion::early, emulator::Completion::late,
                                              emulator::Completion::random};
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    emulator::Settings settings;
    settings.seed = seed, settings.completion = completions[seed - 1];
    settings.shared_per_block = seed == 3 ? 99 * 1024 : 163 * 1024;  // 8.6, 8.9 and 12.0 have less
    std::mt19937_64 random(seed);
    const auto with = [&](const char* name, const auto& body) {
      run(name, [&] {
        on_device(settings, std::string(name) + ", seed " + std::to_string(seed), body);
        test::equal(emulator::counters().matrix_conflicts, uint64_t{0}, std::string("bank conflicts, ") + name);
      });
    };
    const bool all = seed == 1;  // one seed takes every head size, the others the common ones
    with("tiles", [&](gpu::Stream stream) {
      tile(stream, random, gpu::enqueue_attention, 2, 65, 2, 64);    // a chunk and a key
      tile(stream, random, gpu::enqueue_attention, 1, 129, 1, 128);  // a block and a query
      tile(stream, random, gpu::enqueue_attention, 1, 1, 1, 128);
      tile(stream, random, gpu::enqueue_attention, 1, 17, 2, 64);
      tile(stream, random, gpu::enqueue_attention, 1, 100, 1, 64, 0.5f);  // scores that grow: weights are made again
      tile(stream, random, gpu::enqueue_attention, 1, 70, 1, 128, 0.5f);
      if (all) {
        tile(stream, random, gpu::enqueue_attention, 1, 63, 1, 80);
        tile(stream, random, gpu::enqueue_attention, 1, 64, 2, 96);
        tile(stream, random, gpu::enqueue_attention, 1, 33, 2, 72);
        tile(stream, random, gpu::enqueue_attention, 1, 9, 2, 8);
        tile(stream, random, gpu::enqueue_attention_any, 1, 40, 1, 128);
      }
    });
    with("refusals", refused);
    const std::vector<Sequence> prompts{
        causal(70, 12),
        causal(0, 5),
        {{64, 17, 64, 30}, {{0, 0}, {60, 90}, {81, 145}, {100, 100}, {0, 175}, {144, 146}, {80, 81}, {5, 6}, {3, 2}}},
        causal(0, 1)};
    const std::vector<Sequence> blind{{{64}, {{0, 0}, {5, 5}}}, {{}, {{0, 0}, {0, 0}}}, {{10}, {{0, 10}, {9, 10}}}};
    with("prefill", [&](gpu::Stream stream) {
      paged(stream, random, Way::chosen, NVLM_KEYS_SELF, prompts, 8, 1, 128);
      paged(stream, random, Way::chosen, NVLM_KEYS_CROSS, prompts, 14, 2, 64);  // groups of 7
      paged(stream, random, Way::chosen, NVLM_KEYS_CROSS, blind, 2, 2, 64);
      // Three shares and two.
      paged(stream, random, Way::chosen, NVLM_KEYS_SELF, {causal(790, 3), causal(500, 4)}, 8, 1, 64, 7);
      if (all) {
        paged(stream, random, Way::chosen, NVLM_KEYS_SELF, prompts, 3, 1, 80);
        paged(stream, random, Way::chosen, NVLM_KEYS_CROSS, prompts, 2, 1, 96);
        paged(stream, random, Way::chosen, NVLM_KEYS_SELF, {causal(60, 9)}, 64, 1, 64);  // one row a tile
        paged(stream, random, Way::chosen, NVLM_KEYS_SELF, {causal(30, 3)}, 65, 1, 64);  // too many heads for a tile
        paged(stream, random, Way::any, NVLM_KEYS_SELF, prompts, 4, 2, 64);
        paged(stream, random, Way::chosen, NVLM_KEYS_CROSS, blind, 2, 1, 40);
        paged(stream, random, Way::chosen, NVLM_KEYS_SELF, {causal(20, 2)}, 1, 1, 520);
      }
    });
    const std::vector<Sequence> steps{
        causal(300, 1), causal(0, 1), {{64, 17, 64, 30}, {{70, 150}}}, {{20}, {{4, 4}}}, {{}, {{0, 0}}}};
    with("decode", [&](gpu::Stream stream) {
      paged(stream, random, Way::chosen, NVLM_KEYS_SELF, {causal(400, 1)}, 8, 1, 128, 5);  // five shares of seven pages
      paged(stream, random, Way::chosen, NVLM_KEYS_SELF, steps, 14, 2, 64);                // not shared
      paged(stream, random, Way::chosen, NVLM_KEYS_CROSS, steps, 4, 1, 64, 16);
      if (all) {
        paged(stream, random, Way::chosen, NVLM_KEYS_SELF, {causal(100, 1)}, 2, 2, 80, 8);
        // More shares than pages.
        paged(stream, random, Way::chosen, NVLM_KEYS_CROSS, {{{64, 3}, {{1, 66}}}}, 2, 1, 96, 132);
        // Three blocks for a group.
        paged(stream, random, Way::chosen, NVLM_KEYS_SELF, {causal(70, 1)}, 40, 1, 64, 9);
        paged(stream, random, Way::any, NVLM_KEYS_SELF, steps, 4, 1, 64);
        // More pages than lanes.
        paged(stream, random, Way::chosen, NVLM_KEYS_SELF, {causal(2200, 1)}, 1, 1, 64, 3);
      }
    });
    with("anything", [&](gpu::Stream stream) {
      constexpr int32_t kSizes[] = {64, 80, 96, 128, 48}, kGroups[] = {1, 2, 3, 7, 8};
      for (int i = 0; i < 4; ++i) {
        const int32_t kv_heads = 1 + static_cast<int32_t>(random() % 2), heads = kv_heads * kGroups[random() % 5],
                      d = kSizes[random() % 5];
        const nvlm_key_source source = random() % 2 ? NVLM_KEYS_SELF : NVLM_KEYS_CROSS;
        paged(stream, random, Way::chosen, source, random_sequences(random, 1), heads, kv_heads, d,
              1 + static_cast<int>(random() % 20));
        paged(stream, random, Way::chosen, source, random_sequences(random, 12), heads, kv_heads, d,
              1 + static_cast<int>(random() % 20));
      }
    });
  }

  // 8.6 and its like, whose blocks have least shared memory: every head size, by every kernel.
  emulator::Settings small;
  small.minor = 6, small.shared_per_block = 99 * 1024;
  std::mt19937_64 random(4);
  run("99 KB of shared memory", [&] {
    for (const int32_t d : {40, 64, 80, 96, 128}) {
      on_device(small, "99 KB, heads of " + std::to_string(d), [&](gpu::Stream stream) {
        tile(stream, random, gpu::enqueue_attention, 1, 33, 1, d);
        paged(stream, random, Way::chosen, NVLM_KEYS_SELF, {causal(30, 5)}, 2, 1, d);
        paged(stream, random, Way::chosen, NVLM_KEYS_CROSS, {causal(70, 1)}, 2, 1, d);
      });
    }
  });
  return summary();
}
