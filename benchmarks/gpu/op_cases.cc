#include "op_cases.h"

#include "cuda/batch_block.h"
#include "cuda/launchers.h"

namespace nvlm::times {

namespace {

// What a launcher asked for, as a step would find it.
struct Scratch {
  Scratch(const Machine& machine, const WorkspaceNeed& need)
      : floats(machine, static_cast<uint64_t>(need.floats) * 4), counters(machine, static_cast<uint64_t>(need.counters) * 4),
        workspace{floats.as<float>(), need.floats, counters.as<uint32_t>(), need.counters} {
    counters.fill_with(0);
  }
  Memory floats, counters;
  Workspace workspace;
};

struct Dot {
  double sum, size;
};

}  // namespace

// ---- Products ----

Line product(const Machine& machine, const ProductShape& s) {
  const bool swiglu = s.op == NVLM_LINEAR_SWIGLU, logits = s.op == NVLM_LOGITS, residual = s.op == NVLM_LINEAR_RESIDUAL;
  const int64_t weight_rows = swiglu ? 2 * s.n : s.n;
  const uint64_t out_bytes = static_cast<uint64_t>(s.rows * s.n) * (logits ? 4 : 2);
  const double bytes = 2.0 * static_cast<double>(s.rows * s.k + weight_rows * s.k) + static_cast<double>(out_bytes) * (residual ? 2 : 1);
  const int buffers = buffers_for(machine, bytes);
  const Pattern a(1, static_cast<float>(3 / std::sqrt(static_cast<double>(s.k)))), w(2, 1), before(6, 1);
  std::vector<std::unique_ptr<Memory>> in, weight, out;
  for (int i = 0; i < buffers; ++i) {
    in.push_back(a.on_device(machine, s.rows * s.k));
    weight.push_back(w.on_device(machine, weight_rows * s.k));
    out.push_back(residual ? before.on_device(machine, s.rows * s.n) : std::make_unique<Memory>(machine, out_bytes));
    if (!residual) out.back()->fill_with(0xff);
  }
  const Scratch scratch(machine, gemm_workspace(machine.info, s.rows, weight_rows, s.k));
  nvlm_record record{};
  record.op = s.op;
  std::vector<Weight> weights;
  for (int i = 0; i < buffers; ++i) weights.push_back({NVLM_MATRIX, swiglu, weight_rows, s.k, s.k, weight[static_cast<size_t>(i)]->as<void>()});
  const auto enqueue = [&](int i) {
    const auto at = static_cast<size_t>(i);
    Op op{};
    op.record = &record;
    op.in = in[at]->as<bf16>();
    op.out = out[at]->as<void>();
    op.in_rows = op.out_rows = s.rows;
    op.in_cols = s.k;
    op.out_cols = s.n;
    op.w = &weights[at];
    op.workspace = &scratch.workspace;
    op.device = &machine.info;
    op.stream = machine.stream;
    expect(s.rows <= 4 ? enqueue_gemv(op) : enqueue_gemm(op), s.name);
  };

  enqueue(0);
  Difference difference;
  const auto dot = [&](int64_t row, int64_t column) {
    Dot d{0, 0};
    for (int64_t i = 0; i < s.k; ++i) {
      const double term = a.at(row * s.k + i) * w.at(column * s.k + i);
      d.sum += term;
      d.size += term * term;
    }
    d.size = std::sqrt(d.size);
    return d;
  };
  for (int64_t i = 0; i < 64; ++i) {
    const int64_t row = sampled(i, s.rows), column = sampled(3 * i + 1, s.n);
    const auto at = static_cast<uint64_t>(row * s.n + column);
    const double got = logits ? out[0]->read<float>(at, 1)[0] : to_float(out[0]->read<bf16>(at, 1)[0]);
    if (swiglu) {
      const Dot gate = dot(row, 2 * column), up = dot(row, 2 * column + 1);
      const double silu = gate.sum / (1 + std::exp(-gate.sum)), value = silu * up.sum;
      difference.add(got, value, kHalfUlp * std::abs(value) + kSums * (1.1 * gate.size * std::abs(up.sum) + up.size * std::abs(silu) + 1e-3), row, column);
    } else {
      const Dot d = dot(row, column);
      const double value = s.op == NVLM_LINEAR_GELU ? 0.5 * d.sum * (1 + std::erf(d.sum / std::sqrt(2.0))) : residual ? before.at(row * s.n + column) + d.sum : d.sum;
      difference.add(got, value, (logits ? 0 : kHalfUlp) * std::abs(value) + kSums * 1.2 * d.size, row, column);
    }
  }
  difference.expect_none();
  const Times times = timed(machine, buffers, enqueue);
  return {s.name, s.rows <= 16 ? "memory" : "product", times, 2.0 * static_cast<double>(s.rows * weight_rows * s.k), bytes};
}

// ---- Attention ----

Line attention(const Machine& machine, const AttentionShape& s) {
  const bool tile = s.source == NVLM_KEYS_TILE;
  const int64_t d = s.head_dim, rows = int64_t{s.sequences} * s.rows, cols = (s.heads + 2 * s.kv_heads) * d, out_cols = s.heads * d;
  const int32_t pages_each = (s.keys + NVLM_PAGE_KEYS - 1) / NVLM_PAGE_KEYS, pages = tile ? 0 : s.sequences * pages_each;
  const int64_t page_elements = int64_t{s.kv_heads} * NVLM_PAGE_KEYS * d;
  const double bytes = 2.0 * (static_cast<double>(tile ? rows * cols : rows * out_cols) + static_cast<double>(rows * out_cols) +
                              (tile ? 0.0 : 2.0 * s.sequences * s.keys * static_cast<double>(s.kv_heads * d)));
  const int buffers = buffers_for(machine, bytes);
  const Pattern q(3, 2), kv(4, 2);
  std::vector<std::unique_ptr<Memory>> in, cache, out;
  for (int i = 0; i < buffers; ++i) {
    in.push_back(q.on_device(machine, rows * cols));
    cache.push_back(kv.on_device(machine, std::max<int64_t>(8, 2 * pages * page_elements)));
    out.push_back(std::make_unique<Memory>(machine, static_cast<uint64_t>(rows * out_cols) * 2));
    out.back()->fill_with(0xff);
  }

  // The batch: sequences of whole pages, but the last.
  std::vector<int32_t> begin(static_cast<size_t>(rows), 0), end, row_begin, page_begin, page, fill;
  for (int32_t i = 0; i < s.sequences; ++i) {
    row_begin.push_back(i * s.rows);
    page_begin.push_back(tile ? 0 : i * pages_each);
    for (int32_t r = 0; r < s.rows; ++r) end.push_back(s.keys - s.rows + r + 1);
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
  batch.self_begin = begin.data();
  batch.self_end = end.data();
  batch.row_begin = row_begin.data();
  batch.self_pages = {page_begin.data(), page.data(), fill.data()};
  BatchLimits limits;
  limits.rows = rows;
  limits.self_pages = std::max(1, pages);
  limits.self_rows_per_tile = rows_per_tile(s.heads, s.kv_heads);
  const Memory block_memory(machine, BatchBlock::bytes(limits));
  BatchBlock block;
  expect(block.open(limits, block_memory.as<void>(), machine.stream), "a batch");
  Batch step;
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
    Op op{};
    op.record = &record;
    op.in = in[at]->as<bf16>();
    op.out = out[at]->as<void>();
    op.in_rows = op.out_rows = rows;
    op.in_cols = cols;
    op.out_cols = out_cols;
    op.self_kv = {cache[at]->as<bf16>(), 1, pages, s.kv_heads, s.head_dim};
    op.batch = &step;
    op.workspace = &scratch.workspace;
    op.device = &machine.info;
    op.stream = machine.stream;
    expect(enqueue_attention(op), s.name);
  };

  enqueue(0);
  Difference difference;
  for (int64_t i = 0; i < 12; ++i) {
    const int64_t row = sampled(i, rows), head = sampled(i + 5, s.heads), sequence = row / s.rows, kv_head = head * s.kv_heads / s.heads;
    const int64_t last = tile ? s.rows : end[static_cast<size_t>(row)];
    const auto in_cache = [&](int64_t key, bool value) {
      return (value ? pages * page_elements : 0) + (sequence * pages_each + key / NVLM_PAGE_KEYS) * page_elements + (kv_head * NVLM_PAGE_KEYS + key % NVLM_PAGE_KEYS) * d;
    };
    const auto key_at = [&](int64_t key, int64_t c) { return tile ? q.at((sequence * s.rows + key) * cols + (s.heads + kv_head) * d + c) : kv.at(in_cache(key, false) + c); };
    const auto value_at = [&](int64_t key, int64_t c) { return tile ? q.at((sequence * s.rows + key) * cols + (s.heads + s.kv_heads + kv_head) * d + c) : kv.at(in_cache(key, true) + c); };
    std::vector<double> score;
    for (int64_t key = 0; key < last; ++key) {
      double sum = 0;
      for (int64_t c = 0; c < d; ++c) sum += q.at(row * cols + head * d + c) * key_at(key, c);
      score.push_back(sum / std::sqrt(static_cast<double>(d)));
    }
    const double largest = *std::max_element(score.begin(), score.end());
    double total = 0;
    for (double& x : score) total += x = std::exp(x - largest);
    const std::vector<bf16> got = out[0]->read<bf16>(static_cast<uint64_t>(row * out_cols + head * d), static_cast<uint64_t>(d));
    for (int64_t c = 0; c < d; ++c) {
      double value = 0, size = 0;
      for (int64_t key = 0; key < last; ++key) {
        value += score[static_cast<size_t>(key)] / total * value_at(key, c);
        size += score[static_cast<size_t>(key)] / total * std::abs(value_at(key, c));
      }
      // Probabilities are rounded to bf16 as the output is.
      difference.add(to_float(got[static_cast<size_t>(c)]), value, kHalfUlp * (std::abs(value) + size) + kSums * size, row, head * d + c);
    }
  }
  difference.expect_none();
  const Times times = timed(machine, buffers, enqueue);
  // Two products of 2 flops; of a causal square, the part below the diagonal.
  const double keys_seen = tile ? s.keys : s.keys - (s.rows - 1) / 2.0;
  return {s.name, s.rows == 1 ? "memory" : "attention", times, 4.0 * static_cast<double>(rows * out_cols) * keys_seen, bytes};
}

// ---- Norms ----

Line rms_norm(const Machine& machine, const std::string& name, int64_t rows, int64_t cols) {
  const double bytes = 4.0 * static_cast<double>(rows * cols);
  const int buffers = buffers_for(machine, bytes);
  const Pattern a(5, 1);
  std::vector<std::unique_ptr<Memory>> in, out;
  for (int i = 0; i < buffers; ++i) {
    in.push_back(a.on_device(machine, rows * cols));
    out.push_back(std::make_unique<Memory>(machine, static_cast<uint64_t>(rows * cols) * 2));
    out.back()->fill_with(0xff);
  }
  const Memory ones(machine, static_cast<uint64_t>(cols) * 4);
  ones.fill_with(0x3f);  // each 0.747
  const Weight w{NVLM_VECTOR, false, 1, cols, cols, ones.as<void>()};
  nvlm_record record{};
  record.op = NVLM_RMS_NORM;
  record.c.eps = 1e-6f;
  const auto enqueue = [&](int i) {
    const auto at = static_cast<size_t>(i);
    Op op{};
    op.record = &record;
    op.in = in[at]->as<bf16>();
    op.out = out[at]->as<void>();
    op.in_rows = op.out_rows = rows;
    op.in_cols = op.out_cols = cols;
    op.w = &w;
    op.device = &machine.info;
    op.stream = machine.stream;
    expect(enqueue_rms_norm(op), name);
  };
  enqueue(0);
  FloatBits weight;
  weight.bits = 0x3f3f3f3f;
  Difference difference;
  for (int64_t i = 0; i < 16; ++i) {
    const int64_t row = sampled(i, rows), column = sampled(3 * i + 1, cols);
    double squares = 0;
    for (int64_t c = 0; c < cols; ++c) squares += a.at(row * cols + c) * a.at(row * cols + c);
    const double value = a.at(row * cols + column) / std::sqrt(squares / static_cast<double>(cols) + 1e-6) * weight.value;
    difference.add(to_float(out[0]->read<bf16>(static_cast<uint64_t>(row * cols + column), 1)[0]), value, (kHalfUlp + 1e-5) * std::abs(value), row, column);
  }
  difference.expect_none();
  return {name, "memory", timed(machine, buffers, enqueue), 0, bytes};
}

// ---- Copies: the ceiling of what is bound by memory ----

Line device_copy(const Machine& machine) {
  const uint64_t bytes = machine.tiny ? uint64_t{1} << 16 : uint64_t{1} << 30;
  const Memory from(machine, bytes), to(machine, bytes);
  from.fill_with(1);
  const Times times = timed(machine, 1, [&](int) { expect(copy_on_device(to.as<void>(), from.as<void>(), bytes, machine.stream), "copying"); });
  return {"device copy", "memory", times, 0, 2.0 * static_cast<double>(bytes)};
}

}  // namespace nvlm::times
