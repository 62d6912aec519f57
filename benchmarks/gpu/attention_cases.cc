// Attention over an own cache, over the pages of an image's tokens, and over the rows of a tile.
#include "cuda/batch_block.h"
#include "op_cases.h"

namespace nvlm::times {

namespace {

// Keys that a row of a sequence sees.
std::pair<int32_t, int32_t> interval(const AttentionShape& s, int32_t row) {
  if (s.source == NVLM_KEYS_SELF) return {0, s.keys - s.rows + row + 1};
  const int32_t eighth = s.rows / 8;
  if (s.tile_keys == 0 || row >= 2 * eighth) return {0, s.keys};
  if (row < eighth) return {0, 0};
  const int32_t tile = (row - eighth) * (s.keys / s.tile_keys) / eighth;
  return {tile * s.tile_keys, (tile + 1) * s.tile_keys};
}

}  // namespace

Line attention(const Machine& machine, const AttentionShape& s) {
  const bool tile = s.source == NVLM_KEYS_TILE, cross = s.source == NVLM_KEYS_CROSS;
  const int64_t d = s.head_dim, rows = int64_t{s.sequences} * s.rows,
                cols = (s.heads + (cross ? 0 : 2 * s.kv_heads)) * d, out_cols = s.heads * d;
  const int32_t pages_each = (s.keys + NVLM_PAGE_KEYS - 1) / NVLM_PAGE_KEYS,
                pages = tile ? 0 : s.sequences * pages_each;
  const int64_t page_elements = int64_t{s.kv_heads} * NVLM_PAGE_KEYS * d;
  const double bytes =
      2.0 * (static_cast<double>(tile ? rows * cols : rows * out_cols) + static_cast<double>(rows * out_cols) +
             (tile ? 0.0 : 2.0 * s.sequences * s.keys * static_cast<double>(s.kv_heads * d)));
  const int buffers = buffers_for(machine, bytes);
  const Pattern q(3, 2), kv(4, 2);
  const Buffers in = filled(machine, q, buffers, rows * cols),
                cache = filled(machine, kv, buffers, std::max<int64_t>(8, 2 * pages * page_elements)),
                out = unwritten(machine, buffers, rows * out_cols * 2);

  // The batch: sequences of whole pages, but the last.
  std::vector<int32_t> begin, end, row_begin, page_begin, page, fill;
  for (int32_t i = 0; i < s.sequences; ++i) {
    row_begin.push_back(i * s.rows);
    page_begin.push_back(tile ? 0 : i * pages_each);
    for (int32_t r = 0; r < s.rows; ++r) {
      const auto [first, last] = interval(s, r);
      begin.push_back(first);
      end.push_back(last);
    }
    for (int32_t p = 0; p < (tile ? 0 : pages_each); ++p) {
      page.push_back(i * pages_each + p);
      fill.push_back(std::min(NVLM_PAGE_KEYS, s.keys - p * NVLM_PAGE_KEYS));
    }
  }
  row_begin.push_back(static_cast<int32_t>(rows));
  page_begin.push_back(pages);
  nvlm_batch batch{};
  batch.rows = rows;
  batch.sequences = s.sequences;
  (cross ? batch.cross_begin : batch.self_begin) = begin.data();
  (cross ? batch.cross_end : batch.self_end) = end.data();
  batch.row_begin = row_begin.data();
  (cross ? batch.cross_pages : batch.self_pages) = {page_begin.data(), page.data(), fill.data()};
  BatchLimits limits;
  limits.rows = rows;
  (cross ? limits.cross_pages : limits.self_pages) = std::max(1, pages);
  (cross ? limits.cross_rows_per_tile : limits.self_rows_per_tile) = rows_per_tile(s.heads, s.kv_heads);
  const Memory block_memory(machine, BatchBlock::bytes(limits));
  BatchBlock block;
  expect(block.open(limits, block_memory.as<void>(), machine.stream), "a batch");
  DeviceBatch step;
  expect(block.upload(batch, &step), "a batch");

  const Scratch scratch(machine, attention_workspace(machine.info, rows, s.heads, s.kv_heads, s.head_dim));
  nvlm_record record{};
  record.op = NVLM_ATTENTION;
  record.c.source = s.source;
  record.c.heads = s.heads;
  record.c.kv_heads = s.kv_heads;
  record.c.head_dim = s.head_dim;
  record.c.rows_each = s.rows;
  const auto enqueue = [&](int i) {
    const auto at = static_cast<size_t>(i);
    Op op = op_of(machine, record);
    reads(&op, *in[at], rows, cols);
    writes(&op, *out[at], rows, out_cols);
    (cross ? op.cross_kv : op.self_kv) = {cache[at]->as<bf16>(), 1, pages, s.kv_heads, s.head_dim};
    op.batch = &step;
    op.workspace = &scratch.workspace;
    expect(enqueue_attention(op), s.name);
  };

  enqueue(0);
  Difference difference;
  // The first and the last row, and of a cross mask those where a part begins or ends.
  const int64_t eighth = rows / 8, edges[] = {0, eighth, std::max<int64_t>(0, 2 * eighth - 1), rows - 1};
  for (int64_t i = 0; i < 16; ++i) {
    const int64_t row = i < 4 ? edges[i] : sampled(i, rows), head = sampled(i + 5, s.heads), sequence = row / s.rows,
                  kv_head = head * s.kv_heads / s.heads;
    const int64_t first = begin[static_cast<size_t>(row)], last = end[static_cast<size_t>(row)];
    const auto in_cache = [&](int64_t key, bool value) {
      return (value ? pages * page_elements : 0) + (sequence * pages_each + key / NVLM_PAGE_KEYS) * page_elements +
             (kv_head * NVLM_PAGE_KEYS + key % NVLM_PAGE_KEYS) * d;
    };
    const auto key_at = [&](int64_t key, int64_t c) {
      return tile ? q.at((sequence * s.rows + key) * cols + (s.heads + kv_head) * d + c)
                  : kv.at(in_cache(key, false) + c);
    };
    const auto value_at = [&](int64_t key, int64_t c) {
      return tile ? q.at((sequence * s.rows + key) * cols + (s.heads + s.kv_heads + kv_head) * d + c)
                  : kv.at(in_cache(key, true) + c);
    };
    std::vector<double> score;
    for (int64_t key = first; key < last; ++key) {
      double sum = 0;
      for (int64_t c = 0; c < d; ++c) sum += q.at(row * cols + head * d + c) * key_at(key, c);
      score.push_back(sum / std::sqrt(static_cast<double>(d)));
    }
    const double largest = score.empty() ? 0 : *std::max_element(score.begin(), score.end());
    double total = 0;
    for (double& x : score) total += x = std::exp(x - largest);
    const std::vector<bf16> got =
        out[0]->read<bf16>(static_cast<uint64_t>(row * out_cols + head * d), static_cast<uint64_t>(d));
    for (int64_t c = 0; c < d; ++c) {
      double value = 0, size = 0;
      for (int64_t key = first; key < last; ++key) {  // none: exactly 0
        const double share = score[static_cast<size_t>(key - first)] / total;
        value += share * value_at(key, c);
        size += share * std::abs(value_at(key, c));
      }
      // Probabilities are rounded to bf16 as the output is.
      difference.add(to_float(got[static_cast<size_t>(c)]), value, kHalfUlp * (std::abs(value) + size) + kSums * size,
                     row, head * d + c);
    }
  }
  difference.expect_none();
  const Times times = timed(machine, buffers, enqueue);
  // Two products of 2 flops, of those keys alone that a row sees.
  double keys_seen = 0;
  for (size_t r = 0; r < end.size(); ++r) keys_seen += end[r] - begin[r];
  return {
      s.name, record.op, s.rows == 1 ? "memory" : "attention", times, 4.0 * static_cast<double>(out_cols) * keys_seen,
      bytes};
}

}  // namespace nvlm::times
