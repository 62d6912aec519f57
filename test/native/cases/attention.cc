// attention. What could break: the online maximum over blocks, masks within and across pages, partly filled pages,
// groups of query heads, empty intervals, sequences of very different length in one batch, a layer's place in the
// cache, keys that must not be seen (they are NaN here).
//
// Tolerance. A score is off by δ = (d + 4)·u·Σ|q·k|/√d at most, so a weight by e^(2δ); its exponential by 2e-7 and the
// sums over m keys by (m + 8)·u, twice (total and output): limit (2·max δ + 2(m + 8)·u + 4e-7)·Σ p·|v|, root mean
// square 16 u of the same size, plus 2·max δ's typical part, √d·u.
#include <algorithm>
#include <limits>

#include "cases/cases.h"

namespace nvlm::test {
namespace {

struct Head {
  const float* q;
  std::vector<const float*> keys, values;
};

void head_bounds(const Head& head, int32_t d, Bounds& b) {
  std::vector<double> p;
  double most = -INFINITY, total = 0, delta = 0;
  for (const float* k : head.keys) {
    double score = 0, size = 0;
    for (int32_t i = 0; i < d; ++i) score += double(head.q[i]) * k[i], size += std::abs(double(head.q[i]) * k[i]);
    p.push_back(score / std::sqrt(d));
    delta = std::max(delta, (d + 4) * kUnit * size / std::sqrt(d));
    most = std::max(most, p.back());
  }
  for (double& x : p) total += x = std::exp(x - most);
  for (int32_t i = 0; i < d; ++i) {
    double size = 0;
    for (size_t k = 0; k < p.size(); ++k) size += p[k] / total * std::abs(head.values[k][i]);
    b.limit.push_back((2 * delta + 2 * (static_cast<double>(p.size()) + 8) * kUnit + 4e-7) * size);
    b.size.push_back(size);
  }
}

// head(row, h) -> the query and the keys it sees.
template <typename FindHead>
Bounds attention_bounds(int64_t rows, int32_t heads, int32_t d, FindHead find) {
  Bounds b;
  b.rms = (16 + std::sqrt(static_cast<double>(d))) * kUnit;
  for (int64_t r = 0; r < rows; ++r) {
    for (int32_t h = 0; h < heads; ++h) head_bounds(find(r, h), d, b);
  }
  return b;
}

struct Sequence {
  std::vector<int32_t> fill;                          // keys in each of its pages
  std::vector<std::pair<int32_t, int32_t>> interval;  // of each row
};

OpCase paged_case(const std::string& name, nvlm_key_source source, const std::vector<Sequence>& sequences,
                  int32_t heads, int32_t kv_heads, int32_t d) {
  OpCase c;
  c.name = "attention " + name + ", " + std::to_string(heads) + "/" + std::to_string(kv_heads) + " heads of " +
           std::to_string(d);
  Random random(c.name);
  const bool self = source == NVLM_KEYS_SELF;
  PageList& pages = self ? c.batch.self_pages : c.batch.cross_pages;
  std::vector<int32_t>&begin = self ? c.batch.self_begin : c.batch.cross_begin,
  &end = self ? c.batch.self_end : c.batch.cross_end;
  int32_t page_count = 1;
  c.batch.row_begin = {0};
  for (const Sequence& s : sequences) {
    page_count += static_cast<int32_t>(s.fill.size());
    for (const auto& [from, to] : s.interval) begin.push_back(from), end.push_back(to);
    c.batch.rows += static_cast<int64_t>(s.interval.size());
    c.batch.row_begin.push_back(static_cast<int32_t>(c.batch.rows));
  }
  // Pages are dealt out from the last one downwards; page 0 belongs to nobody. Places that hold no key are NaN.
  Cache& kv = self ? c.self_kv : c.cross_kv;
  kv = {2, page_count, kv_heads, d, {}};
  kv.data.assign(kv.elements(), std::numeric_limits<float>::quiet_NaN());
  constexpr int32_t kLayer = 1;
  for (const Sequence& s : sequences) {
    for (const int32_t fill : s.fill) {
      pages.page.push_back(--page_count);
      pages.fill.push_back(fill);
      for (int32_t h = 0; h < kv_heads; ++h) {
        const int64_t slot = int64_t{page_count} * NVLM_PAGE_KEYS;
        float *k = &kv.data[kv.key_at(kLayer, slot, h)], *v = &kv.data[kv.value_at(kLayer, slot, h)];
        for (int32_t i = 0; i < fill * d; ++i) k[i] = random.uniform(-2, 2), v[i] = random.uniform(-1, 1);
      }
    }
    pages.begin.push_back(static_cast<int32_t>(pages.page.size()));
  }
  c.record.op = NVLM_ATTENTION;
  c.record.c.source = source;
  c.record.c.heads = heads;
  c.record.c.kv_heads = kv_heads;
  c.record.c.head_dim = d;
  c.record.c.layer = kLayer;
  // Self attention gets [q|k|v], cross attention q alone.
  const int64_t cols = static_cast<int64_t>(self ? heads + 2 * kv_heads : heads) * d;
  c.record.in = c.add(Tensor{NVLM_ROWS, 1, cols, random.uniforms(c.batch.rows * cols, -2, 2)});
  c.record.out = c.add(Tensor{NVLM_ROWS, 1, static_cast<int64_t>(heads) * d, {}});
  for (const Sequence& s : sequences) {
    for (const auto& [from, to] : s.interval) c.flops += 4.0 * (to - from) * heads * d;
  }

  const std::vector<float> queries = c.tensors[0].data;
  c.bounds = [=, cache = kv](const std::vector<float>&) {
    std::vector<std::pair<size_t, size_t>> row_of;  // sequence, row in it
    std::vector<int32_t> first_page;
    int32_t next = 0;
    for (size_t s = 0; s < sequences.size(); ++s) {
      for (size_t r = 0; r < sequences[s].interval.size(); ++r) row_of.emplace_back(s, r);
      first_page.push_back(next);
      next += static_cast<int32_t>(sequences[s].fill.size());
    }
    return attention_bounds(static_cast<int64_t>(row_of.size()), heads, d, [&](int64_t row, int32_t h) {
      const auto [s, r] = row_of[static_cast<size_t>(row)];
      Head head{queries.data() + row * cols + static_cast<int64_t>(h) * d, {}, {}};
      int32_t key = 0;
      for (size_t p = 0; p < sequences[s].fill.size(); ++p) {
        const int64_t page = cache.pages - 1 - (first_page[s] + static_cast<int32_t>(p));
        for (int32_t i = 0; i < sequences[s].fill[p]; ++i, ++key) {
          if (key < sequences[s].interval[r].first || key >= sequences[s].interval[r].second) continue;
          const int64_t slot = page * NVLM_PAGE_KEYS + i;
          head.keys.push_back(&cache.data[cache.key_at(kLayer, slot, h / (heads / kv_heads))]);
          head.values.push_back(&cache.data[cache.value_at(kLayer, slot, h / (heads / kv_heads))]);
        }
      }
      return head;
    });
  };
  return c;
}

// `keys` keys in full pages and a rest; the last `rows` of them are the rows' own.
Sequence causal(int64_t keys, int64_t rows) {
  Sequence s;
  for (int64_t left = keys; left > 0; left -= NVLM_PAGE_KEYS)
    s.fill.push_back(static_cast<int32_t>(std::min<int64_t>(left, NVLM_PAGE_KEYS)));
  for (int64_t r = 0; r < rows; ++r) s.interval.emplace_back(0, static_cast<int32_t>(keys - rows + r + 1));
  return s;
}

}  // namespace

OpCase causal_attention_case(const std::vector<std::pair<int64_t, int64_t>>& keys_rows, int32_t heads, int32_t kv_heads,
                             int32_t head_dim) {
  std::string name = "causal keys/rows";
  std::vector<Sequence> sequences;
  for (const auto& [keys, rows] : keys_rows) {
    sequences.push_back(causal(keys, rows));
    name += " " + std::to_string(keys) + "/" + std::to_string(rows);
  }
  return paged_case(name, NVLM_KEYS_SELF, sequences, heads, kv_heads, head_dim);
}

OpCase tile_attention_case(int64_t tiles, int32_t rows_each, int32_t heads, int32_t d) {
  OpCase c;
  c.name = "attention " + std::to_string(tiles) + " tiles of " + std::to_string(rows_each) + " rows, " +
           std::to_string(heads) + " heads of " + std::to_string(d);
  Random random(c.name);
  const int64_t width = static_cast<int64_t>(heads) * d;
  c.batch.tiles = tiles;
  c.record.op = NVLM_ATTENTION;
  c.record.c.source = NVLM_KEYS_TILE;
  c.record.c.heads = c.record.c.kv_heads = heads;
  c.record.c.head_dim = d;
  c.record.c.rows_each = rows_each;
  c.record.in = c.add(Tensor{NVLM_TILES, rows_each, 3 * width, random.uniforms(tiles * rows_each * 3 * width, -2, 2)});
  c.record.out = c.add(Tensor{NVLM_TILES, rows_each, width, {}});
  c.flops = 4.0 * static_cast<double>(tiles) * rows_each * rows_each * static_cast<double>(width);
  const std::vector<float> in = c.tensors[0].data;
  c.bounds = [=](const std::vector<float>&) {
    return attention_bounds(tiles * rows_each, heads, d, [&](int64_t row, int32_t h) {
      Head head{in.data() + row * 3 * width + static_cast<int64_t>(h) * d, {}, {}};
      for (int64_t k = row / rows_each * rows_each; k < (row / rows_each + 1) * rows_each; ++k) {
        head.keys.push_back(in.data() + k * 3 * width + width + static_cast<int64_t>(h) * d);
        head.values.push_back(in.data() + k * 3 * width + 2 * width + static_cast<int64_t>(h) * d);
      }
      return head;
    });
  };
  return c;
}

std::vector<OpCase> attention_cases() {
  std::vector<OpCase> cases;
  // One sequence: lengths around a page (64) and a row block (16).
  for (const int64_t keys : {1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 300}) {
    cases.push_back(causal_attention_case({{keys, 1}}, 2, 1, 16));
    cases.push_back(causal_attention_case({{keys, keys}}, 2, 2, 8));
    if (keys > 15) cases.push_back(causal_attention_case({{keys, 15}}, 3, 1, 24));
  }
  for (const int32_t d : {8, 40, 64, 128}) cases.push_back(causal_attention_case({{70, 20}}, 6, 2, d));
  // Ragged: prefill and decode in one batch.
  cases.push_back(causal_attention_case({{130, 1}, {33, 33}, {1, 1}, {64, 2}, {200, 17}}, 4, 2, 32));
  // Intervals that begin late, end early, are empty, or lie in one page of several; pages that are not full in the
  // middle; a sequence without rows or without keys.
  const std::vector<Sequence> odd = {
      {{64, 3, 64, 1}, {{0, 132}, {64, 67}, {63, 65}, {0, 0}, {67, 131}, {131, 132}, {132, 132}, {5, 5}, {66, 68}}},
      {{7}, {}},
      {{}, {{0, 0}, {0, 0}}},
      {{1, 0, 2}, {{0, 3}, {1, 3}, {0, 1}, {2, 2}}}};
  cases.push_back(paged_case("odd self intervals", NVLM_KEYS_SELF, odd, 4, 2, 16));
  cases.push_back(paged_case("odd cross intervals", NVLM_KEYS_CROSS, odd, 4, 2, 16));
  cases.push_back(paged_case("odd cross intervals", NVLM_KEYS_CROSS, odd, 3, 3, 72));
  // The head sizes for which a GPU has kernels of their own: a prompt, steps of several answers, tiles around its
  // blocks of 128 queries and 64 or 32 keys.
  for (const int32_t d : {64, 80, 96, 128}) {
    cases.push_back(causal_attention_case({{70, 20}, {5, 5}}, 4, 2, d));
    cases.push_back(causal_attention_case({{70, 1}, {1, 1}, {129, 1}}, 4, 2, d));
    cases.push_back(tile_attention_case(2, 33, 1, d));
  }
  cases.push_back(tile_attention_case(1, 129, 1, 64));
  for (const nvlm_key_source source : {NVLM_KEYS_SELF, NVLM_KEYS_CROSS}) {
    cases.push_back(
        paged_case(source == NVLM_KEYS_SELF ? "odd self intervals" : "odd cross intervals", source, odd, 4, 2, 64));
  }
  for (const int32_t rows : {1, 5, 16, 17, 64, 65}) cases.push_back(tile_attention_case(2, rows, 2, 16));
  cases.push_back(tile_attention_case(1, 257, 1, 16));
  cases.push_back(tile_attention_case(3, 26, 5, 40));
  return cases;
}

}  // namespace nvlm::test
