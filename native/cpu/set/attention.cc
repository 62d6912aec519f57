// attention (spec sections 4 and 6): softmax(q·kᵀ/√d)·v with one interval [begin, end) of keys per row, online over
// blocks of at most 64 keys. Keys are pages of a cache, or columns of the encoder's own [q|k|v]. No score matrix: a
// task holds 64 scores and a maximum and sum for each of its rows and heads.
// Threads: a task is (sequence, kv head, block of rows); all query heads of the kv head share its keys while they are
// in the cache.
#include <cmath>

#include "cpu/kv_pages.h"
#include "cpu/set/kernels.h"
#include "cpu/set/math.h"

namespace nvlm::cpu::NVLM_CPU_SET {
namespace {

constexpr int64_t kQueryBlock = 16;
static_assert(8 % kLanes == 0, "head_dim is a multiple of 8 (ops/check_program.cc): a wider vector needs a tail here");

// Neighbouring keys of one head: rows of d floats, `stride` apart.
struct KeyBlock {
  const float *k, *v;
  int64_t stride;
  int64_t first, end;  // key numbers
};

// The running softmax of one query: out holds the sum of e^(score − most)·v.
struct State {
  float most, total;
};

float dot(const float* a, const float* b, int32_t d) {
  Vec s = set(0.0f);
  for (int32_t i = 0; i < d; i += kLanes) s = fma(load(a + i), load(b + i), s);
  return sum(s);
}

// Scores of keys [from, to) of the block, then their share of the output.
void attend(const float* q, const KeyBlock& block, int64_t from, int64_t to, int32_t d, float scale, State& state,
            float* out) {
  float score[NVLM_PAGE_KEYS + kLanes];
  const int64_t count = to - from;
  const float *k = block.k + (from - block.first) * block.stride, *v = block.v + (from - block.first) * block.stride;
  float most = state.most;
  for (int64_t i = 0; i < count; ++i) {
    score[i] = dot(q, k + i * block.stride, d) * scale;
    most = std::max(most, score[i]);
  }
  for (int64_t i = count; i < count + kLanes; ++i) score[i] = -INFINITY;
  // exp clamps at e^-87, which vanishes beside the e^0 of the largest score.
  const float shrink = state.most == -INFINITY ? 0.0f : std::exp(state.most - most);
  float total = state.total * shrink;
  for (int64_t i = 0; i < count; i += kLanes) store(score + i, exp(sub(load(score + i), set(most))));
  for (int64_t i = 0; i < count; ++i) total += score[i];
  for (int32_t c = 0; c < d; c += kLanes) {
    Vec sum_0 = mul(load(out + c), set(shrink)), sum_1 = set(0.0f);
    int64_t i = 0;
    for (; i + 2 <= count; i += 2) {
      sum_0 = fma(set(score[i]), load(v + i * block.stride + c), sum_0);
      sum_1 = fma(set(score[i + 1]), load(v + (i + 1) * block.stride + c), sum_1);
    }
    if (i < count) sum_0 = fma(set(score[i]), load(v + i * block.stride + c), sum_0);
    store(out + c, add(sum_0, sum_1));
  }
  state = {most, total};
}

// Rows [first, end) of one kv head: each_block(visit) shows visit every block of its keys in turn, interval(row) ->
// {begin, end}. states: one for each row and query head of the kv head.
template <typename EachBlock, typename FindInterval>
void attend_rows(const host::Op& op, int32_t kv_head, int64_t first, int64_t end, State* states, EachBlock each_block,
                 FindInterval interval) {
  const nvlm_constants& c = op.c();
  const int32_t group = c.heads / c.kv_heads, d = c.head_dim;
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  const auto q_of = [&](int64_t row, int32_t g) {
    return op.in + row * op.in_cols + static_cast<int64_t>(kv_head * group + g) * d;
  };
  const auto out_of = [&](int64_t row, int32_t g) {
    return op.out + row * op.out_cols + static_cast<int64_t>(kv_head * group + g) * d;
  };
  const auto state_of = [&](int64_t row, int32_t g) -> State& { return states[(row - first) * group + g]; };
  std::fill_n(states, (end - first) * group, State{-INFINITY, 0});
  for (int64_t row = first; row < end; ++row) std::fill_n(out_of(row, 0), static_cast<int64_t>(group) * d, 0.0f);
  each_block([&](const KeyBlock& block) {
    for (int64_t row = first; row < end; ++row) {
      const auto [begin_key, end_key] = interval(row);
      const int64_t from = std::max<int64_t>(block.first, begin_key), to = std::min<int64_t>(block.end, end_key);
      if (from >= to) continue;
      for (int32_t g = 0; g < group; ++g)
        attend(q_of(row, g), block, from, to, d, scale, state_of(row, g), out_of(row, g));
    }
  });
  for (int64_t row = first; row < end; ++row) {
    for (int32_t g = 0; g < group; ++g) {
      const float total = state_of(row, g).total;
      if (total == 0) continue;  // an empty interval: zeros
      float* out = out_of(row, g);
      for (int32_t i = 0; i < d; i += kLanes) store(out + i, mul(load(out + i), set(1.0f / total)));
    }
  }
}

// States that a task needs.
int64_t state_count(const nvlm_constants& c) { return kQueryBlock * (c.heads / c.kv_heads); }

struct Interval {
  int64_t begin, end;
};

int64_t blocks_of(int64_t rows) { return (rows + kQueryBlock - 1) / kQueryBlock; }

// A block of rows of one sequence.
struct RowBlock {
  int32_t sequence;
  int64_t first, end;
};

// The i-th of the batch.
RowBlock row_block(const nvlm_batch& b, int64_t i) {
  int32_t s = 0;
  for (int64_t blocks; i >= (blocks = blocks_of(b.row_begin[s + 1] - b.row_begin[s])); ++s) i -= blocks;
  const int64_t first = b.row_begin[s] + i * kQueryBlock;
  return {s, first, std::min<int64_t>(b.row_begin[s + 1], first + kQueryBlock)};
}

void paged_attention(const host::Op& op, const nvlm_kv_cache& kv, const nvlm_pages& pages, const int32_t* begin,
                     const int32_t* end) {
  const nvlm_constants& c = op.c();
  const nvlm_batch& b = *op.batch;
  int64_t blocks = 0;
  for (int32_t s = 0; s < b.sequences; ++s) blocks += blocks_of(b.row_begin[s + 1] - b.row_begin[s]);
  op.parallel(blocks * c.kv_heads, [&](int64_t task, int thread) {
    const RowBlock rows = row_block(b, task / c.kv_heads);
    const auto kv_head = static_cast<int32_t>(task % c.kv_heads);
    const auto each_page = [&](auto visit) {
      int64_t key = 0;
      for (int32_t p = pages.begin[rows.sequence]; p < pages.begin[rows.sequence + 1]; ++p) {
        visit(KeyBlock{key_page(kv, c.layer, pages.page[p], kv_head), value_page(kv, c.layer, pages.page[p], kv_head),
                       c.head_dim, key, key + pages.fill[p]});
        key += pages.fill[p];
      }
    };
    State* states = static_cast<State*>(op.scratch) + thread * state_count(c);
    attend_rows(op, kv_head, rows.first, rows.end, states, each_page, [&](int64_t row) {
      return Interval{begin[row], end[row]};
    });
  });
}

void tile_attention(const host::Op& op) {
  const nvlm_constants& c = op.c();
  const int64_t width = static_cast<int64_t>(c.heads) * c.head_dim, tiles = op.in_rows / c.rows_each,
                row_blocks = blocks_of(c.rows_each);
  op.parallel(tiles * c.heads * row_blocks, [&](int64_t task, int thread) {
    const int64_t tile = task / (c.heads * row_blocks) * c.rows_each, block = task % row_blocks;
    const auto head = static_cast<int32_t>(task / row_blocks % c.heads);
    const auto each_block = [&](auto visit) {
      for (int64_t k = 0; k < c.rows_each; k += NVLM_PAGE_KEYS) {
        const float* q = op.in + (tile + k) * op.in_cols + static_cast<int64_t>(head) * c.head_dim;
        visit(KeyBlock{q + width, q + 2 * width, op.in_cols, k, std::min<int64_t>(c.rows_each, k + NVLM_PAGE_KEYS)});
      }
    };
    const int64_t first = tile + block * kQueryBlock,
                  end = tile + std::min<int64_t>(c.rows_each, (block + 1) * kQueryBlock);
    State* states = static_cast<State*>(op.scratch) + thread * state_count(c);
    attend_rows(op, head, first, end, states, each_block, [&](int64_t) { return Interval{0, c.rows_each}; });
  });
}

}  // namespace

uint64_t attention_scratch(const host::Op& op) {
  return static_cast<uint64_t>(op.threads.count * state_count(op.c())) * sizeof(State);
}

void attention(const host::Op& op) {
  const nvlm_batch& b = *op.batch;
  switch (op.c().source) {
    case NVLM_KEYS_SELF: return paged_attention(op, *op.self_kv, b.self_pages, b.self_begin, b.self_end);
    case NVLM_KEYS_CROSS: return paged_attention(op, *op.cross_kv, b.cross_pages, b.cross_begin, b.cross_end);
    case NVLM_KEYS_TILE: return tile_attention(op);
  }
}

}  // namespace nvlm::cpu::NVLM_CPU_SET
