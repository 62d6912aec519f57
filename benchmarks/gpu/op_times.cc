// How fast is each op on this GPU, and what share of a ceiling measured in the same run is that? Shapes of NVLM-D-72B, Qwen2-7B and InternViT.
//
//   op_times [--json FILE] [--tiny] [WORD…]     --tiny: shapes for the emulator, whose times mean nothing; WORD: only cases whose name contains one
//
// Launchers are driven directly. Buffers take turns beyond three times the second-level cache, so that operands come from memory as they do in a model; all
// launches of a measurement are one graph, as a step of decoding is. Before it is timed, each case's output is compared at sampled places with a
// double-precision computation from the same operands: one that is wrong has no time, and the exit code is 1. Built by scripts/gpu-check.sh, which
// puts the times beside those of cuBLAS and of PyTorch's attention (rivals.py: the same shapes by the same names).
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/batch_block.h"
#include "cuda/launchers.h"
#ifdef NVLM_EMULATOR
#include "emulator/control.h"
#endif

namespace {

using namespace nvlm::gpu;

void expect(Status status, const std::string& doing) {
  if (status != Status::ok) throw std::runtime_error(doing + ": " + message());
}

// The device of this run.
struct Machine {
  DeviceInfo info{};
  Stream stream = nullptr;
  bool tiny = false;
  uint64_t rotated_bytes() const { return tiny ? 1 : uint64_t{3} * static_cast<uint64_t>(info.l2_bytes); }
};

class Memory {
 public:
  Memory(const Machine& machine, uint64_t bytes) : machine_(machine), bytes_(bytes) { expect(alloc(&data_, bytes, machine.stream), "taking " + std::to_string(bytes) + " bytes"); }
  ~Memory() { nvlm::gpu::free(data_, machine_.stream); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  template <typename T>
  T* as() const { return static_cast<T*>(data_); }
  uint64_t bytes() const { return bytes_; }
  void fill_with(int byte) const { expect(nvlm::gpu::fill(data_, byte, bytes_, machine_.stream), "filling"); }

  template <typename T>
  std::vector<T> read(uint64_t first, uint64_t count) const {
    std::vector<T> values(count);
    void* pinned = nullptr;
    expect(alloc_pinned(&pinned, count * sizeof(T)), "page-locked memory");
    expect(copy_to_host(pinned, as<T>() + first, count * sizeof(T), machine_.stream), "reading");
    expect(wait(machine_.stream), "reading");
    std::memcpy(values.data(), pinned, count * sizeof(T));
    free_pinned(pinned);
    return values;
  }

 private:
  const Machine& machine_;
  void* data_ = nullptr;
  uint64_t bytes_;
};

// Random bf16 that repeat after a prime number of elements: no two rows of a matrix are alike, and the host knows each value.
class Pattern {
 public:
  Pattern(uint64_t seed, float size) {
    for (bf16& v : values_) {
      uint64_t x = seed += 0x9e3779b97f4a7c15u;
      x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
      x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
      v = to_bf16(size * (static_cast<float>((x ^ (x >> 31)) >> 40) * 0x1p-23f - 1));
    }
  }
  double at(int64_t i) const { return to_float(values_[static_cast<size_t>(i) % kPeriod]); }

  std::unique_ptr<Memory> on_device(const Machine& machine, int64_t elements) const {
    auto memory = std::make_unique<Memory>(machine, static_cast<uint64_t>(elements) * sizeof(bf16));
    const uint64_t first = std::min<uint64_t>(kPeriod, static_cast<uint64_t>(elements)) * sizeof(bf16);
    void* pinned = nullptr;
    expect(alloc_pinned(&pinned, first), "page-locked memory");
    std::memcpy(pinned, values_.data(), first);
    expect(copy_to_device(memory->as<void>(), pinned, first, machine.stream), "sending");
    for (uint64_t done = first; done < memory->bytes(); done *= 2) {
      expect(copy_on_device(memory->as<char>() + done, memory->as<char>(), std::min(done, memory->bytes() - done), machine.stream), "repeating");
    }
    expect(wait(machine.stream), "sending");
    free_pinned(pinned);
    return memory;
  }

 private:
  static constexpr uint64_t kPeriod = 524287;
  std::vector<bf16> values_ = std::vector<bf16>(kPeriod);
};

// ---- Timing ----

struct Times {
  double median = 0, spread = 0;  // seconds of one launch; half the distance of the quartiles
};

// `enqueue(i)`: the i-th launch, on buffers i modulo however many there are.
Times timed(const Machine& machine, int buffers, const std::function<void(int)>& enqueue) {
  Event from = nullptr, to = nullptr;
  expect(create_event(&from, true), "event");
  expect(create_event(&to, true), "event");
  const auto seconds_of = [&](const std::function<void()>& work) {
    expect(record(from, machine.stream), "event");
    work();
    expect(record(to, machine.stream), "event");
    expect(wait_for(to), "waiting");
    float milliseconds = 0;
    expect(elapsed(from, to, &milliseconds), "elapsed");
    return static_cast<double>(milliseconds) / 1e3;
  };
  const auto once = [&] {
    for (int i = 0; i < buffers; ++i) enqueue(i);
  };
  once();
  const double guess = seconds_of(once) / buffers;
  // A graph of some 10 ms, and whole turns of the buffers.
  const int turns = machine.tiny ? 1 : std::clamp(static_cast<int>(0.01 / guess / buffers), 1, 512 / buffers + 1), launches = turns * buffers;
  Graph graph = nullptr;
  expect(begin_capture(machine.stream), "recording");
  for (int i = 0; i < launches; ++i) enqueue(i % buffers);
  expect(end_capture(machine.stream, &graph), "recording");
  const auto all = [&] { expect(run_graph(graph, machine.stream), "running a graph"); };
  seconds_of(all);
  std::vector<double> times;
  double total = 0;
  while (times.size() < (machine.tiny ? 1u : 7u) || (!machine.tiny && total < 0.25 && times.size() < 50)) {
    const double seconds = seconds_of(all);
    times.push_back(seconds / launches);
    total += seconds;
  }
  destroy_graph(graph);
  destroy_event(from);
  destroy_event(to);
  std::sort(times.begin(), times.end());
  const size_t n = times.size();
  return {times[n / 2], (times[n * 3 / 4] - times[n / 4]) / 2};
}

struct Line {
  std::string name;
  const char* bound;  // "memory", "product", "attention": which ceiling
  Times times;
  double flops, bytes;
};

// What is wrong first; empty: nothing. A NaN is wrong.
class Difference {
 public:
  void add(double got, double expected, double limit, int64_t row, int64_t column) {
    ++count_;
    if (std::abs(got - expected) <= limit || !words_.empty()) return;
    char text[160];
    std::snprintf(text, sizeof text, "[%lld, %lld]: expected %g within %g but got %g", static_cast<long long>(row), static_cast<long long>(column), expected, limit, got);
    words_ = text;
  }
  std::string words() const { return count_ == 0 ? "nothing was compared" : words_; }

 private:
  int count_ = 0;
  std::string words_;
};

constexpr double kHalfUlp = 0x1p-8 * 1.01;  // of bf16, relative
// Sums of k products in float32, rounded or cut at each step of 16: (k / 16 + 17) * 2^-23 of what has been summed so far, whose size is about the root of
// the sum of squares; three times that for the longest k here.
constexpr double kSums = 1e-3;

int64_t sampled(int64_t i, int64_t count) { return count <= 1 ? 0 : (i * 7919 + (i % 2 ? count - 1 : 0)) % count; }

// ---- Products ----

struct ProductShape {
  std::string name;
  nvlm_op op;
  int64_t rows, n, k;
};

struct Dot {
  double sum, size;
};

Line product(const Machine& machine, const ProductShape& s) {
  const bool swiglu = s.op == NVLM_LINEAR_SWIGLU, logits = s.op == NVLM_LOGITS;
  const int64_t weight_rows = swiglu ? 2 * s.n : s.n;
  const uint64_t out_bytes = static_cast<uint64_t>(s.rows * s.n) * (logits ? 4 : 2);
  const double bytes = 2.0 * static_cast<double>(s.rows * s.k + weight_rows * s.k) + static_cast<double>(out_bytes);
  const int buffers = static_cast<int>(std::min<uint64_t>(64, 1 + machine.rotated_bytes() / static_cast<uint64_t>(bytes)));
  const Pattern a(1, static_cast<float>(3 / std::sqrt(static_cast<double>(s.k)))), w(2, 1);
  std::vector<std::unique_ptr<Memory>> in, weight, out;
  for (int i = 0; i < buffers; ++i) {
    in.push_back(a.on_device(machine, s.rows * s.k));
    weight.push_back(w.on_device(machine, weight_rows * s.k));
    out.push_back(std::make_unique<Memory>(machine, out_bytes));
    out.back()->fill_with(0xff);
  }
  const WorkspaceNeed need = gemm_workspace(machine.info, s.rows, weight_rows, s.k);
  const Memory floats(machine, static_cast<uint64_t>(need.floats) * 4), counters(machine, static_cast<uint64_t>(need.counters) * 4);
  counters.fill_with(0);
  const Workspace workspace{floats.as<float>(), need.floats, counters.as<uint32_t>(), need.counters};
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
    op.workspace = &workspace;
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
      const double value = s.op == NVLM_LINEAR_GELU ? 0.5 * d.sum * (1 + std::erf(d.sum / std::sqrt(2.0))) : d.sum;
      difference.add(got, value, (logits ? 0 : kHalfUlp) * std::abs(value) + kSums * 1.2 * d.size, row, column);
    }
  }
  if (!difference.words().empty()) throw std::runtime_error(difference.words());
  const Times times = timed(machine, buffers, enqueue);
  return {s.name, s.rows <= 16 ? "memory" : "product", times, 2.0 * static_cast<double>(s.rows * weight_rows * s.k), bytes};
}

// ---- Attention ----

struct AttentionShape {
  std::string name;
  nvlm_key_source source;
  int32_t sequences;      // tiles
  int32_t rows, keys;     // of each; the rows are the last of the keys, causal, except in tiles
  int32_t heads, kv_heads, head_dim;
};

Line attention(const Machine& machine, const AttentionShape& s) {
  const bool tile = s.source == NVLM_KEYS_TILE;
  const int64_t d = s.head_dim, rows = int64_t{s.sequences} * s.rows, cols = (s.heads + 2 * s.kv_heads) * d, out_cols = s.heads * d;
  const int32_t pages_each = (s.keys + NVLM_PAGE_KEYS - 1) / NVLM_PAGE_KEYS, pages = tile ? 0 : s.sequences * pages_each;
  const int64_t page_elements = int64_t{s.kv_heads} * NVLM_PAGE_KEYS * d;
  const double bytes = 2.0 * (static_cast<double>(tile ? rows * cols : rows * out_cols) + static_cast<double>(rows * out_cols) +
                              (tile ? 0.0 : 2.0 * s.sequences * s.keys * static_cast<double>(s.kv_heads * d)));
  const int buffers = static_cast<int>(std::min<uint64_t>(64, 1 + machine.rotated_bytes() / static_cast<uint64_t>(bytes)));
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

  const WorkspaceNeed need = attention_workspace(machine.info, rows, s.heads, s.kv_heads, s.head_dim);
  const Memory floats(machine, static_cast<uint64_t>(need.floats) * 4), counters(machine, static_cast<uint64_t>(need.counters) * 4);
  counters.fill_with(0);
  const Workspace workspace{floats.as<float>(), need.floats, counters.as<uint32_t>(), need.counters};
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
    op.workspace = &workspace;
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
  if (!difference.words().empty()) throw std::runtime_error(difference.words());
  const Times times = timed(machine, buffers, enqueue);
  // Two products of 2 flops; of a causal square, the part below the diagonal.
  const double keys_seen = tile ? s.keys : s.keys - (s.rows - 1) / 2.0;
  return {s.name, s.rows == 1 ? "memory" : "attention", times, 4.0 * static_cast<double>(rows * out_cols) * keys_seen, bytes};
}

// ---- Norms ----

Line rms_norm(const Machine& machine, const std::string& name, int64_t rows, int64_t cols) {
  const double bytes = 4.0 * static_cast<double>(rows * cols);
  const int buffers = static_cast<int>(std::min<uint64_t>(64, 1 + machine.rotated_bytes() / static_cast<uint64_t>(bytes)));
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
  if (!difference.words().empty()) throw std::runtime_error(difference.words());
  return {name, "memory", timed(machine, buffers, enqueue), 0, bytes};
}

// ---- The run ----

Line device_copy(const Machine& machine) {
  const uint64_t bytes = machine.tiny ? uint64_t{1} << 16 : uint64_t{1} << 30;
  const Memory from(machine, bytes), to(machine, bytes);
  from.fill_with(1);
  const Times times = timed(machine, 1, [&](int) { expect(copy_on_device(to.as<void>(), from.as<void>(), bytes, machine.stream), "copying"); });
  return {"device copy", "memory", times, 0, 2.0 * static_cast<double>(bytes)};
}

using Case = std::pair<std::string, std::function<Line(const Machine&)>>;

std::vector<Case> cases(bool tiny) {
  std::vector<Case> all;
  const auto add_product = [&](ProductShape s) {
    if (tiny) s.rows = std::min<int64_t>(s.rows, 40), s.n = 64, s.k = 136;
    all.emplace_back(s.name, [s](const Machine& m) { return product(m, s); });
  };
  const auto add_attention = [&](AttentionShape s) {
    const bool decode = s.rows == 1;
    if (tiny) s.sequences = std::min(s.sequences, 2), s.keys = 70, s.rows = decode ? 1 : s.source == NVLM_KEYS_TILE ? 70 : 20, s.heads = s.heads == s.kv_heads ? 2 : 4, s.kv_heads = 2;
    all.emplace_back(s.name, [s](const Machine& m) { return attention(m, s); });
  };
  const auto add_norm = [&](const std::string& name, int64_t rows, int64_t cols) {
    all.emplace_back(name, [=](const Machine& m) { return rms_norm(m, name, tiny ? 3 : rows, tiny ? 64 : cols); });
  };
  add_product({"gemm 4096", NVLM_LINEAR, 4096, 4096, 4096});
  add_product({"gemm 8192", NVLM_LINEAR, 8192, 8192, 8192});
  add_product({"encoder 6B up + gelu", NVLM_LINEAR_GELU, 7 * 1025, 12800, 3200});
  add_product({"prefill 7B gate/up + swiglu", NVLM_LINEAR_SWIGLU, 2048, 18944, 3584});
  add_product({"skinny 16 72B o", NVLM_LINEAR, 16, 8192, 8192});
  add_product({"gemv 72B qkv", NVLM_LINEAR, 1, 10240, 8192});
  add_product({"gemv 72B o", NVLM_LINEAR, 1, 8192, 8192});
  add_product({"gemv 72B gate/up + swiglu", NVLM_LINEAR_SWIGLU, 1, 29568, 8192});
  add_product({"gemv 72B down", NVLM_LINEAR, 1, 8192, 29568});
  add_product({"gemv 72B logits", NVLM_LOGITS, 1, 152064, 8192});
  add_product({"gemv 7B qkv", NVLM_LINEAR, 1, 4608, 3584});
  add_product({"gemv 7B gate/up + swiglu", NVLM_LINEAR_SWIGLU, 1, 18944, 3584});
  add_product({"gemv 7B down", NVLM_LINEAR, 1, 3584, 18944});
  add_product({"gemv of 4 rows, 72B o", NVLM_LINEAR, 4, 8192, 8192});
  add_attention({"attention tiles 7x1025, 16 heads of 64", NVLM_KEYS_TILE, 7, 1025, 1025, 16, 16, 64});
  add_attention({"attention tiles 7x1025, 25 heads of 128", NVLM_KEYS_TILE, 7, 1025, 1025, 25, 25, 128});
  add_attention({"attention prefill 2048, 64/8 heads of 128", NVLM_KEYS_SELF, 1, 2048, 2048, 64, 8, 128});
  add_attention({"attention decode 4096, 64/8 heads of 128", NVLM_KEYS_SELF, 1, 1, 4096, 64, 8, 128});
  add_attention({"attention decode 16 x 4096, 64/8 heads of 128", NVLM_KEYS_SELF, 16, 1, 4096, 64, 8, 128});
  add_norm("rms norm 2048 x 8192", 2048, 8192);
  return all;
}

void print(const Line& l, double copy) {
  std::printf("%-48s %9.1f us ± %4.1f %%", l.name.c_str(), l.times.median * 1e6, l.times.median > 0 ? 100 * l.times.spread / l.times.median : 0);
  if (l.flops > 0) std::printf(" %8.1f TFLOP/s", l.flops / l.times.median / 1e12);
  std::printf(" %7.0f GB/s, %3.0f %% of device copy\n", l.bytes / l.times.median / 1e9, 100 * l.bytes / l.times.median / copy);
  std::fflush(stdout);
}

bool write_json(const char* path, const Machine& machine, const std::vector<Line>& lines, const std::map<std::string, std::string>& wrong, double copy) {
  std::ofstream out(path);
  out << "{\"gpu\": \"" << machine.info.name << "\", \"capability\": \"" << machine.info.major << '.' << machine.info.minor << "\", \"copy_gbytes\": " << copy / 1e9 << ", \"ops\": [";
  for (size_t i = 0; i < lines.size(); ++i) {
    const Line& l = lines[i];
    out << (i ? ",\n" : "\n") << "{\"name\": \"" << l.name << "\", \"bound\": \"" << l.bound << "\", \"us\": " << l.times.median * 1e6 << ", \"spread_us\": " << l.times.spread * 1e6
        << ", \"tflops\": " << l.flops / l.times.median / 1e12 << ", \"gbytes\": " << l.bytes / l.times.median / 1e9 << "}";
  }
  out << "], \"wrong\": [";
  bool first = true;
  for (const auto& [name, words] : wrong) {
    out << (first ? "" : ", ") << "\"" << name << ": " << words << "\"";
    first = false;
  }
  out << "]}\n";
  return static_cast<bool>(out.flush());
}

int run(bool tiny, const char* json, const std::vector<std::string>& words) {
  Machine machine;
  machine.tiny = tiny;
#ifdef NVLM_EMULATOR
  nvlm::emulator::configure({});
#endif
  expect(use_device(0), "the GPU");
  expect(device_info(0, &machine.info), "the GPU");
  expect(create_stream(&machine.stream), "a stream");
  std::vector<Line> lines = {device_copy(machine)};
  const double copy = lines[0].bytes / lines[0].times.median;
  print(lines[0], copy);
  std::map<std::string, std::string> wrong;
  for (const auto& [name, work] : cases(tiny)) {
    if (!words.empty() && std::none_of(words.begin(), words.end(), [&, n = name](const std::string& w) { return n.find(w) != std::string::npos; })) continue;
    try {
      lines.push_back(work(machine));
      print(lines.back(), copy);
    } catch (const std::exception& error) {
      wrong[name] = error.what();
      std::printf("%-48s WRONG, not timed: %s\n", name.c_str(), error.what());
      std::fflush(stdout);
    }
    trim();
  }
  destroy_stream(machine.stream);
#ifdef NVLM_EMULATOR
  if (!nvlm::emulator::fault().empty()) wrong["emulator"] = nvlm::emulator::fault();
#endif
  std::printf("%zu timed, %zu wrong\n", lines.size(), wrong.size());
  if (json && !write_json(json, machine, lines, wrong, copy)) throw std::runtime_error(std::string("cannot write ") + json);
  return wrong.empty() && lines.size() > 1 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  bool tiny = false;
  const char* json = nullptr;
  std::vector<std::string> words;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--tiny") == 0) {
      tiny = true;
    } else if (std::strcmp(argv[i], "--json") == 0 && i + 1 < argc) {
      json = argv[++i];
    } else {
      words.emplace_back(argv[i]);
    }
  }
  try {
    return run(tiny, json, words);
  } catch (const std::exception& error) {
    std::printf("op_times: %s\n", error.what());
    return 1;
  }
}
