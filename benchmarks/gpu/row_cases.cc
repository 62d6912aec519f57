// What moves rows from place to place: into key/value pages, from the embedding table and from an image's tokens, and
// those whose logits are wanted.
#include "op_cases.h"

namespace nvlm::times {
namespace {

// Slots of a cache whose pages a prompt found in no order: row r has place r % 64 of page `page_of` its number.
struct Slots {
  Slots(const Machine& machine, int32_t rows) : pages((rows + NVLM_PAGE_KEYS - 1) / NVLM_PAGE_KEYS) {
    std::vector<int64_t> slots;
    for (int32_t r = 0; r < rows; ++r) slots.push_back(page_of(r) * NVLM_PAGE_KEYS + r % NVLM_PAGE_KEYS);
    memory = on_device(machine, slots);
  }
  int64_t page_of(int64_t row) const { return pages - 1 - row / NVLM_PAGE_KEYS; }
  // Element of the keys, or of the values, of a row.
  int64_t at(const CacheShape& s, int64_t row, int64_t head, int64_t column, bool value) const {
    const int64_t page_elements = int64_t{s.kv_heads} * NVLM_PAGE_KEYS * s.head_dim;
    return (value ? pages * page_elements : 0) + page_of(row) * page_elements +
           (head * NVLM_PAGE_KEYS + row % NVLM_PAGE_KEYS) * s.head_dim + column;
  }
  int64_t cache_bytes(const CacheShape& s) const {
    return int64_t{4} * pages * s.kv_heads * NVLM_PAGE_KEYS * s.head_dim;
  }

  int32_t pages;
  std::unique_ptr<Memory> memory;
};

nvlm_record cache_record(nvlm_op op, const CacheShape& s) {
  nvlm_record record{};
  record.op = op;
  record.c.heads = s.heads, record.c.kv_heads = s.kv_heads, record.c.head_dim = s.head_dim, record.c.rope_theta = 1e6f;
  return record;
}

}  // namespace

Line rope_kv_write(const Machine& machine, const CacheShape& s) {
  const int64_t d = s.head_dim, all = s.heads + 2 * s.kv_heads, cols = all * d;
  // q, k, v are read; q and k are written where they were, k and v to the cache.
  const double bytes = 2.0 * static_cast<double>(s.rows * d * (2 * s.heads + 5 * s.kv_heads));
  const int buffers = buffers_for(machine, bytes);
  const Pattern a(5, 1);
  const Slots slots(machine, s.rows);
  const Buffers qkv = filled(machine, a, buffers, s.rows * cols),
                cache = unwritten(machine, buffers, slots.cache_bytes(s));
  constexpr int32_t kFirst = 1000;
  std::vector<int32_t> positions;
  for (int32_t r = 0; r < s.rows; ++r) positions.push_back(kFirst + r);
  const auto position = on_device(machine, positions);
  DeviceBatch batch{};
  batch.rows = s.rows;
  batch.position = position->as<int32_t>();
  batch.kv_slot = slots.memory->as<int64_t>();
  const nvlm_record record = cache_record(NVLM_ROPE_KV_WRITE, s);
  const auto enqueue = [&](int i) {
    const auto at = static_cast<size_t>(i);
    Op op = op_of(machine, record);
    writes(&op, *qkv[at], s.rows, cols);
    op.self_kv = {cache[at]->as<bf16>(), 1, slots.pages, s.kv_heads, s.head_dim};
    op.batch = &batch;
    expect(enqueue_rope_kv_write(op), s.name);
  };
  enqueue(0);  // in place: later ones turn what is turned
  Difference difference;
  for (int64_t i = 0; i < 16; ++i) {
    const int64_t row = sampled(i, s.rows), column = sampled(3 * i + 1, d), pair = column % (d / 2),
                  kv_head = i % s.kv_heads;
    const auto angle =
        static_cast<float>((kFirst + row) * std::pow(1e6, -2.0 * static_cast<double>(pair) / static_cast<double>(d)));
    const auto turned = [&](int64_t head, double got) {
      const double lower = a.at(row * cols + head * d + pair), upper = a.at(row * cols + head * d + pair + d / 2),
                   cosine = std::cos(double{angle}), sine = std::sin(double{angle});
      const double value = column < d / 2 ? lower * cosine - upper * sine : upper * cosine + lower * sine;
      difference.add(got, value, kHalfUlp * std::abs(value) + 1e-5 * (std::abs(lower) + std::abs(upper)), row,
                     head * d + column);
    };
    const int64_t query = sampled(i + 5, s.heads), value = s.heads + s.kv_heads + kv_head;
    turned(query, bf16_at(*qkv[0], row * cols + query * d + column));
    turned(s.heads + kv_head, bf16_at(*cache[0], slots.at(s, row, kv_head, column, false)));
    difference.add(bf16_at(*cache[0], slots.at(s, row, kv_head, column, true)), a.at(row * cols + value * d + column),
                   0, row, value * d + column);
  }
  difference.expect_none();
  return {s.name, record.op, "memory", timed(machine, buffers, enqueue), 0, bytes};
}

Line kv_write(const Machine& machine, const CacheShape& s) {
  const int64_t width = int64_t{s.kv_heads} * s.head_dim, cols = 2 * width;
  const double bytes = 4.0 * static_cast<double>(s.rows * cols);
  const int buffers = buffers_for(machine, bytes);
  const Pattern a(5, 1);
  const Slots slots(machine, s.rows);
  const Buffers in = filled(machine, a, buffers, s.rows * cols),
                cache = unwritten(machine, buffers, slots.cache_bytes(s));
  DeviceBatch batch{};
  batch.rows = s.rows;
  batch.kv_slot = slots.memory->as<int64_t>();
  const nvlm_record record = cache_record(NVLM_KV_WRITE, s);
  const auto enqueue = [&](int i) {
    const auto at = static_cast<size_t>(i);
    Op op = op_of(machine, record);
    reads(&op, *in[at], s.rows, cols);
    op.cross_kv = {cache[at]->as<bf16>(), 1, slots.pages, s.kv_heads, s.head_dim};
    op.batch = &batch;
    expect(enqueue_kv_write(op), s.name);
  };
  enqueue(0);
  Difference difference;
  for (int64_t i = 0; i < 32; ++i) {
    const int64_t row = sampled(i, s.rows), column = sampled(3 * i + 1, cols), within = column % width;
    difference.add(bf16_at(*cache[0], slots.at(s, row, within / s.head_dim, within % s.head_dim, column >= width)),
                   a.at(row * cols + column), 0, row, column);
  }
  difference.expect_none();
  return {s.name, record.op, "memory", timed(machine, buffers, enqueue), 0, bytes};
}

Line embed(const Machine& machine, const EmbedShape& s) {
  const double bytes = 4.0 * static_cast<double>(s.rows * s.n);
  const int buffers = buffers_for(machine, bytes);
  const Pattern table_values(2, 1), image_values(3, 1);
  const auto table = table_values.on_device(machine, s.vocab * s.n);
  const Buffers image = filled(machine, image_values, buffers, std::max<int64_t>(8, s.image_rows * s.n)),
                out = unwritten(machine, buffers, s.rows * s.n * 2);
  // Each turn has other tokens, so that their rows come from memory. The image stands in the middle of the prompt.
  const int32_t before = (s.rows - s.image_rows) / 2;
  const auto token_at = [&](int turn, int64_t row) {
    return static_cast<int32_t>((row * 7919 + turn * int64_t{15485863}) % s.vocab);
  };
  const auto image_row = [&](int64_t row) { return row >= before && row < before + s.image_rows ? row - before : -1; };
  Buffers token, source;
  for (int i = 0; i < buffers; ++i) {
    std::vector<int32_t> ids;
    std::vector<const bf16*> from;
    for (int32_t r = 0; r < s.rows; ++r) {
      ids.push_back(token_at(i, r));
      from.push_back(image_row(r) < 0 ? nullptr : image[static_cast<size_t>(i)]->as<bf16>() + image_row(r) * s.n);
    }
    token.push_back(on_device(machine, ids));
    source.push_back(on_device(machine, from));
  }
  const DeviceWeight w{NVLM_TABLE, false, s.vocab, s.n, s.n, table->as<void>()};
  nvlm_record record{};
  record.op = NVLM_EMBED;
  const auto enqueue = [&](int i) {
    const auto at = static_cast<size_t>(i);
    DeviceBatch batch{};
    batch.rows = s.rows;
    batch.token = token[at]->as<int32_t>();
    batch.source = source[at]->as<const bf16*>();
    Op op = op_of(machine, record);
    writes(&op, *out[at], s.rows, s.n);
    op.w = &w;
    op.batch = &batch;
    expect(enqueue_embed(op), s.name);
  };
  enqueue(0);
  Difference difference;
  for (int64_t i = 0; i < 32; ++i) {
    const int64_t row = sampled(i, s.rows), column = sampled(3 * i + 1, s.n), of_image = image_row(row);
    const double value =
        of_image < 0 ? table_values.at(token_at(0, row) * s.n + column) : image_values.at(of_image * s.n + column);
    difference.add(bf16_at(*out[0], row * s.n + column), value, 0, row, column);
  }
  difference.expect_none();
  return {s.name, record.op, "memory", timed(machine, buffers, enqueue), 0, bytes};
}

Line gather_rows(const Machine& machine, const std::string& name, int64_t outs, int64_t rows, int64_t cols) {
  const double bytes = 4.0 * static_cast<double>(outs * cols);
  const int buffers = buffers_for(machine, bytes);
  const Pattern a(5, 1);
  const Buffers in = filled(machine, a, buffers, rows * cols), out = unwritten(machine, buffers, outs * cols * 2);
  std::vector<int32_t> from;
  // The last one's is the last row.
  for (int64_t i = 0; i < outs; ++i) from.push_back(static_cast<int32_t>((i + 1) * rows / outs - 1));
  const auto out_row = on_device(machine, from);
  DeviceBatch batch{};
  batch.rows = rows;
  batch.outs = outs;
  batch.out_row = out_row->as<int32_t>();
  nvlm_record record{};
  record.op = NVLM_GATHER_ROWS;
  const auto enqueue = [&](int i) {
    const auto at = static_cast<size_t>(i);
    Op op = op_of(machine, record);
    reads(&op, *in[at], rows, cols);
    writes(&op, *out[at], outs, cols);
    op.batch = &batch;
    expect(enqueue_gather_rows(op), name);
  };
  enqueue(0);
  Difference difference;
  for (int64_t i = 0; i < 32; ++i) {
    const int64_t row = sampled(i, outs), column = sampled(3 * i + 1, cols);
    difference.add(bf16_at(*out[0], row * cols + column), a.at(from[static_cast<size_t>(row)] * cols + column), 0, row,
                   column);
  }
  difference.expect_none();
  return {name, record.op, "memory", timed(machine, buffers, enqueue), 0, bytes};
}

}  // namespace nvlm::times
