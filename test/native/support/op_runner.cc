#include "support/op_runner.h"

#include <algorithm>
#include <sstream>
#include <stdexcept>

#include "ops/op_info.h"
#include "support/op_allocations.h"
#include "support/op_chain.h"

namespace nvlm::test {
namespace {

constexpr uint32_t kPoison = 0x7fc17fc1u;  // a NaN that no arithmetic makes; each half of it is one as bf16
constexpr int64_t kGuard = 64;             // elements before, between and behind tensors and caches
constexpr uint64_t kAlignment = 64;        // bytes, of tensors

float poison() {
  float f;
  std::memcpy(&f, &kPoison, sizeof f);
  return f;
}

uint32_t bits(float f) {
  uint32_t b;
  std::memcpy(&b, &f, sizeof b);
  return b;
}

// Round to nearest, ties to even.
uint16_t to_bf16(float f) {
  const uint32_t b = bits(f);
  if (std::isnan(f)) return static_cast<uint16_t>(b >> 16 | 0x40);
  return static_cast<uint16_t>((b + 0x7fff + (b >> 16 & 1)) >> 16);
}

float from_bf16(uint16_t half) {
  if (half == (kPoison & 0xffff)) return poison();
  const uint32_t b = static_cast<uint32_t>(half) << 16;
  float f;
  std::memcpy(&f, &b, sizeof f);
  return f;
}

float rounded(float f) { return from_bf16(to_bf16(f)); }

void encode(nvlm_dtype dtype, const float* from, size_t count, unsigned char* to) {
  if (count == 0) return;
  if (dtype == NVLM_F32) {
    std::memcpy(to, from, count * sizeof(float));
    return;
  }
  for (size_t i = 0; i < count; ++i) {
    const uint16_t half = to_bf16(from[i]);
    std::memcpy(to + 2 * i, &half, 2);
  }
}

std::vector<float> decode(nvlm_dtype dtype, const std::vector<unsigned char>& from) {
  std::vector<float> values(from.size() / nvlm_dtype_bytes(dtype));
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t half;
    if (dtype == NVLM_F32) {
      std::memcpy(&values[i], from.data() + 4 * i, 4);
    } else {
      std::memcpy(&half, from.data() + 2 * i, 2);
      values[i] = from_bf16(half);
    }
  }
  return values;
}

void fill_with_poison(std::vector<unsigned char>& bytes) {
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<unsigned char>(kPoison >> (8 * (i % 4)));
}

int64_t count_of(const int64_t (&counts)[NVLM_EXTENT_COUNT], nvlm_extent e) { return counts[e]; }

// At the end of a chain, if there are any.
bool is_logits(const OpCase& c, size_t tensor) { return nvlm::is_logits(c.record, static_cast<int32_t>(tensor)); }

}  // namespace

Device::Device(const std::string& set, int threads) : name_(set) {
  const bool reference = set == "reference";
  backend_ = reference ? nvlm_reference_backend() : nvlm_cpu_backend();
  open({threads, reference ? nullptr : set.c_str(), 0});
}

Device::Device(const nvlm_backend& backend) : backend_(&backend), name_(backend.name) { open({}); }

void Device::open(const nvlm_open_options& options) {
  if (backend_->open(&options, &device_) != NVLM_OK) throw std::runtime_error(backend_->last_error(nullptr));
  nvlm_capabilities capabilities{};
  backend_->capabilities(device_, &capabilities);
  activations_ = capabilities.activations;
}

Device::~Device() { backend_->close(device_); }

// ---- bf16 ----

OpCase rounded(const OpCase& c) {
  constexpr double kHalfUlp = 0x1p-8;
  OpCase r = c;
  r.rounding = kHalfUlp;
  const auto round_all = [](std::vector<float>& values) {
    for (float& v : values) v = rounded(v);
  };
  for (size_t t = 0; t < r.tensors.size(); ++t) {
    if (!is_logits(c, t)) round_all(r.tensors[t].data);
  }
  round_all(r.self_kv.data);
  round_all(r.cross_kv.data);
  for (Weight& w : r.weights) {
    if (w.use == NVLM_VECTOR) continue;
    round_all(w.values);
    int64_t first = 0;  // of the part's rows among the weight's
    for (size_t p = 0; p < w.parts.size(); ++p) {
      Weight::Part& part = w.parts[p];
      part.bytes.assign(static_cast<size_t>(1 + part.rows * part.stride * 2), 0xff);
      for (int64_t row = 0; row < part.rows; ++row) {
        const int64_t value = (w.interleave ? 2 * row + static_cast<int64_t>(p) : first + row) * part.cols;
        encode(NVLM_BF16, w.values.data() + value, static_cast<size_t>(part.cols),
               part.bytes.data() + 1 + 2 * row * part.stride);
      }
      part.dtype = NVLM_BF16;
      first += part.rows;
    }
  }
  if (!c.batch.source.empty()) {
    const auto n = static_cast<size_t>(c.tensors[static_cast<size_t>(c.record.out)].cols);
    const auto rows = std::make_shared<std::vector<float>>(c.batch.source.size() * n);
    for (size_t row = 0; row < c.batch.source.size(); ++row) {
      if (!c.batch.source[row]) continue;
      for (size_t i = 0; i < n; ++i) (*rows)[row * n + i] = rounded(static_cast<const float*>(c.batch.source[row])[i]);
      r.batch.source[row] = rows->data() + row * n;
    }
    r.kept = rows;
  }
  if (!c.before.empty()) return r;
  // Half an ulp of what is written; and where an operand is rounded on the way (probabilities, normalised pixels), half
  // an ulp of the size it is summed from.
  const bool inner = c.record.op == NVLM_ATTENTION || c.record.op == NVLM_PATCH_EMBED;
  const bool copies = c.record.op == NVLM_EMBED || c.record.op == NVLM_GATHER_ROWS;
  const bool written_float = c.record.op == NVLM_LOGITS;
  r.bounds = [=, before = c.bounds](const std::vector<float>& truth) {
    Bounds b{std::vector<double>(truth.size(), 0), std::vector<double>(truth.size(), 1), 0};
    if (copies) return b;
    if (before) b = before(truth);
    double written = 0, size = 0;
    for (size_t i = 0; i < truth.size(); ++i) {
      if (!written_float) b.limit[i] += kHalfUlp * 1.01 * std::abs(static_cast<double>(truth[i]));
      if (inner) b.limit[i] += kHalfUlp * b.size[i];
      written += static_cast<double>(truth[i]) * truth[i];
      size += b.size[i] * b.size[i];
    }
    if (!written_float && size > 0) b.rms += kHalfUlp * std::sqrt(written / size);
    if (inner) b.rms += kHalfUlp;
    return b;
  };
  if (c.record.op == NVLM_ROPE_KV_WRITE) r.cache_relative = kHalfUlp * 1.01;
  return r;
}

bool fits_bf16(const OpCase& c) {
  for (size_t t = 0; t < c.tensors.size(); ++t) {
    if (!is_logits(c, t) && c.tensors[t].cols % 8) return false;
  }
  return true;
}

// ---- Loading ----

void* Loaded::alloc(uint64_t bytes) {
  void* memory = nullptr;
  if (device_.table().alloc(device_.handle(), bytes, &memory) != NVLM_OK)
    throw std::runtime_error(device_.table().last_error(device_.handle()));
  memory_.emplace_back(memory, bytes);
  return memory;
}

nvlm_kv_cache Loaded::cache(const Cache& from) {
  nvlm_kv_cache kv{nullptr, from.layers, from.pages, from.kv_heads, from.head_dim, device_.activations()};
  if (!from.layers) return kv;
  const uint64_t guard = kGuard * nvlm_dtype_bytes(kv.dtype);
  std::vector<unsigned char> data(nvlm_kv_cache_bytes(&kv) + 2 * guard);
  fill_with_poison(data);
  encode(kv.dtype, from.data.data(), from.data.size(), data.data() + guard);
  auto* memory = static_cast<unsigned char*>(alloc(data.size()));
  device_.table().write(device_.handle(), memory, data.data(), data.size());
  kv.memory = memory + guard;
  return kv;
}

nvlm_dtype Loaded::type_of(size_t tensor) const { return is_logits(case_, tensor) ? NVLM_F32 : device_.activations(); }

// Rows of images lie in device memory, in its type.
void Loaded::send_sources() {
  sources_.assign(case_.batch.source.begin(), case_.batch.source.end());
  if (device_.activations() == NVLM_F32 || sources_.empty()) return;
  const auto n = static_cast<size_t>(case_.tensors[static_cast<size_t>(case_.record.out)].cols);
  const uint64_t row_bytes = n * nvlm_dtype_bytes(device_.activations());
  std::vector<unsigned char> row(row_bytes);
  auto* memory = static_cast<unsigned char*>(alloc(row_bytes * sources_.size()));
  for (size_t r = 0; r < sources_.size(); ++r) {
    if (!sources_[r]) continue;
    encode(device_.activations(), static_cast<const float*>(sources_[r]), n, row.data());
    device_.table().write(device_.handle(), memory + r * row_bytes, row.data(), row_bytes);
    sources_[r] = memory + r * row_bytes;
  }
}

Loaded::Loaded(const Device& device, const OpCase& c) : device_(device), case_(c), records_(c.records()) {
  const nvlm_backend& table = device.table();
  // One more of each than the batch has, so that rows behind the batch's exist and must stay as they are.
  const int64_t counts[NVLM_EXTENT_COUNT] = {c.batch.tiles + 1, c.batch.rows + 1, c.batch.outs + 1};
  uint64_t bytes = kGuard * sizeof(float);
  for (size_t i = 0; i < c.tensors.size(); ++i) {
    const Tensor& t = c.tensors[i];
    tensors_.push_back({t.extent, t.rows_each, t.cols, bytes, type_of(i)});
    bytes += (static_cast<uint64_t>(t.rows_each * count_of(counts, t.extent) * t.cols + kGuard) *
                  nvlm_dtype_bytes(type_of(i)) +
              kAlignment - 1) /
             kAlignment * kAlignment;
  }
  for (const Weight& w : c.weights) {
    const nvlm_weight_source source = w.source();
    nvlm_weight* weight = nullptr;
    const uint64_t before = table.used_bytes(device.handle()), planned = table.weight_bytes(device.handle(), &source);
    if ((status = table.upload_weight(device.handle(), &source, &weight)) != NVLM_OK) {
      error = table.last_error(device.handle());
      return;
    }
    weights_.push_back(weight);
    if (table.used_bytes(device.handle()) - before != planned)
      throw std::runtime_error("a weight took other bytes than weight_bytes said");
  }
  program_.name = "case";
  program_.records = records_.data();
  program_.record_count = static_cast<int32_t>(records_.size());
  program_.tensors = tensors_.data();
  program_.tensor_count = static_cast<int32_t>(tensors_.size());
  program_.weights = weights_.data();
  program_.weight_count = static_cast<int32_t>(weights_.size());
  std::copy_n(counts, NVLM_EXTENT_COUNT, program_.max_count);
  program_.max_self_pages = static_cast<int64_t>(c.batch.self_pages.page.size());
  program_.max_cross_pages = static_cast<int64_t>(c.batch.cross_pages.page.size());
  for (const nvlm_sampling& s : c.batch.sampling) program_.max_history += s.history_len;
  program_.arena_bytes = bytes;
  program_.arena = alloc(program_.arena_bytes);
  program_.self_kv = cache(c.self_kv);
  program_.cross_kv = cache(c.cross_kv);
  send_sources();
  const uint64_t before = table.used_bytes(device.handle());
  status = table.compile(device.handle(), &program_, &plan_);
  if (status != NVLM_OK) {
    error = table.last_error(device.handle());
    return;
  }
  const uint64_t taken = table.used_bytes(device.handle()) - before,
                 planned = table.plan_bytes(device.handle(), &program_);
  if (taken != planned)
    throw std::runtime_error("a plan took " + std::to_string(taken) + " bytes, but plan_bytes said " +
                             std::to_string(planned));
}

Loaded::~Loaded() {
  const nvlm_backend& table = device_.table();
  if (plan_) table.free_plan(device_.handle(), plan_);
  for (nvlm_weight* w : weights_) table.free_weight(device_.handle(), w);
  for (const auto& [memory, bytes] : memory_) table.free(device_.handle(), memory, bytes);
}

std::vector<float> Loaded::read_tensor(const nvlm_tensor& tensor, int64_t rows) const {
  std::vector<unsigned char> bytes(static_cast<size_t>(rows * tensor.cols) * nvlm_dtype_bytes(tensor.dtype));
  device_.table().read(device_.handle(), bytes.data(), static_cast<char*>(program_.arena) + tensor.offset,
                       bytes.size());
  return decode(tensor.dtype, bytes);
}

std::vector<float> Loaded::read_cache(const nvlm_kv_cache& kv) const {
  if (!kv.memory) return {};
  const uint64_t guard = kGuard * nvlm_dtype_bytes(kv.dtype);
  std::vector<unsigned char> bytes(nvlm_kv_cache_bytes(&kv) + 2 * guard);
  device_.table().read(device_.handle(), bytes.data(), static_cast<unsigned char*>(kv.memory) - guard, bytes.size());
  return decode(kv.dtype, bytes);
}

// ---- Running ----

Outcome Loaded::run() {
  const nvlm_backend& table = device_.table();
  Outcome o;
  if ((o.status = status) != NVLM_OK) {
    o.error = error;
    return o;
  }
  std::vector<unsigned char> before(program_.arena_bytes);
  fill_with_poison(before);
  for (size_t t = 0; t < tensors_.size(); ++t)
    encode(tensors_[t].dtype, case_.tensors[t].data.data(), case_.tensors[t].data.size(),
           before.data() + tensors_[t].offset);
  table.write(device_.handle(), program_.arena, before.data(), program_.arena_bytes);
  o.sampled.resize(static_cast<size_t>(case_.batch.outs));
  nvlm_batch batch = case_.batch.view(case_.batch.sampling.empty() ? nullptr : o.sampled.data());
  if (!sources_.empty()) batch.source = sources_.data();
  const int64_t allocated = allocations();
  o.status = run(batch);
  // A device of its own has a queue to keep, in the host's memory.
  if (device_.activations() == NVLM_F32) o.allocations = allocations() - allocated;
  if (o.status != NVLM_OK || (o.status = table.wait(device_.handle())) != NVLM_OK) {
    o.error = table.last_error(device_.handle());
    return o;
  }
  std::vector<unsigned char> after(before.size());
  table.read(device_.handle(), after.data(), program_.arena, program_.arena_bytes);
  std::string written;
  for (const nvlm_record& record : records_) {
    if (record.out < 0) continue;
    const nvlm_tensor& out = tensors_[static_cast<size_t>(record.out)];
    const int64_t rows = case_.rows(case_.tensors[static_cast<size_t>(record.out)]);
    if (record.out == case_.record.out) o.out = read_tensor(out, rows);
    const uint64_t bytes = static_cast<uint64_t>(rows * out.cols) * nvlm_dtype_bytes(out.dtype);
    std::copy_n(before.begin() + static_cast<std::ptrdiff_t>(out.offset), bytes,
                after.begin() + static_cast<std::ptrdiff_t>(out.offset));
    written += " " + std::to_string(out.offset) + " to " + std::to_string(out.offset + bytes);
  }
  const auto changed = std::mismatch(after.begin(), after.end(), before.begin()).first;
  if (changed != after.end())
    o.damage = "byte " + std::to_string(changed - after.begin()) +
               " of the arena changed, which is not output (output:" + written + ")";
  o.self_kv = read_cache(program_.self_kv);
  o.cross_kv = read_cache(program_.cross_kv);
  return o;
}

Outcome run_case(const Device& device, const OpCase& c) { return Loaded(device, c).run(); }

namespace {

std::string coordinate(int64_t i, int64_t cols) {
  return "[" + std::to_string(i / cols) + ", " + std::to_string(i % cols) + "]";
}

Comparison compare_output(const OpCase& c, const Bounds& bounds, const std::vector<float>& got,
                          const std::vector<float>& truth) {
  const int64_t cols = c.tensors[static_cast<size_t>(c.record.out)].cols;
  Comparison result;
  std::ostringstream text;
  for (size_t i = 0; i < truth.size(); ++i) {
    if (std::isfinite(truth[i])) continue;
    text << "the reference's value at " << coordinate(static_cast<int64_t>(i), cols) << " is not finite";
    return {text.str()};
  }
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isfinite(got[i])) continue;
    text << (bits(got[i]) == kPoison ? "nothing was written at " : "not finite at ")
         << coordinate(static_cast<int64_t>(i), cols) << ", expected " << truth[i];
    return {text.str()};
  }
  double error = 0, size = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double d = std::abs(static_cast<double>(got[i]) - truth[i]);
    error += d * d;
    size += bounds.size[i] * bounds.size[i];
    if (d > 0) result.of_limit = std::max(result.of_limit, d / bounds.limit[i]);
    if (d <= bounds.limit[i]) continue;
    text << "at " << coordinate(static_cast<int64_t>(i), cols) << " expected " << truth[i] << " but got " << got[i]
         << ": error " << d << ", limit " << bounds.limit[i];
    return {text.str()};
  }
  const double rms = size > 0 ? std::sqrt(error / size) : std::sqrt(error);
  if (rms > 0) result.of_limit = std::max(result.of_limit, rms / bounds.rms);
  if (rms <= bounds.rms) return result;
  text << "root mean square error " << rms / kUnit << " units, limit " << bounds.rms / kUnit;
  return {text.str()};
}

// `limits`: of each element, or none.
std::string cache_difference(const char* kind, const OpCase& c, const std::vector<double>& limits,
                             const std::vector<float>& got, const std::vector<float>& truth) {
  for (size_t i = 0; i < truth.size(); ++i) {
    constexpr auto kBefore = static_cast<size_t>(kGuard);
    const bool guard = i < kBefore || i >= truth.size() - kBefore;
    const double limit = limits.empty() ? c.cache_limit + c.cache_relative * std::abs(static_cast<double>(truth[i]))
                         : guard        ? 0
                                        : limits[i - kBefore];
    // Poison must stay poison.
    if (bits(got[i]) == bits(truth[i]) || std::abs(static_cast<double>(got[i]) - truth[i]) <= limit) continue;
    std::ostringstream text;
    text << "float " << static_cast<int64_t>(i) - kGuard << " of the " << kind << " cache: expected " << truth[i]
         << " but got " << got[i];
    return text.str();
  }
  return {};
}

}  // namespace

std::string sampled_difference(const nvlm_sampled& got, const nvlm_sampled& truth) {
  const auto close = [](float x, float y) { return std::abs(x - y) <= std::abs(y) * 1.2e-7f + 1e-12f; };
  const auto differ = [](const std::string& what, double x, double y) {
    std::ostringstream text;
    text << what << ": expected " << y << " but got " << x;
    return text.str();
  };
  if (got.token != truth.token) return differ("the token", got.token, truth.token);
  if (got.top_count != truth.top_count) return differ("the count of logprobs", got.top_count, truth.top_count);
  if (!close(got.logprob, truth.logprob)) return differ("the logprob", got.logprob, truth.logprob);
  for (int i = 0; i < NVLM_MAX_TOP_LOGPROBS; ++i) {
    const std::string number = std::to_string(i);
    if (got.top_token[i] != truth.top_token[i])
      return differ("the token of logprob " + number, got.top_token[i], truth.top_token[i]);
    if (!close(got.top_logprob[i], truth.top_logprob[i]))
      return differ("logprob " + number, got.top_logprob[i], truth.top_logprob[i]);
  }
  return {};
}

Bounds bounds_of(const OpCase& c, const Outcome& truth) {
  if (c.bounds && truth.status == NVLM_OK) return c.bounds(truth.out);
  if (!c.before.empty()) return chain_bounds(c);
  return {std::vector<double>(truth.out.size(), 0), std::vector<double>(truth.out.size(), 1), 0};
}

Comparison compare(const OpCase& c, const Bounds& bounds, const Outcome& got, const Outcome& truth) {
  if (truth.status != NVLM_OK) return {"the reference failed: " + truth.error};
  if (got.status != NVLM_OK) return {"failed: " + got.error};
  if (!truth.damage.empty()) return {"the reference wrote where it must not: " + truth.damage};
  if (!got.damage.empty()) return {got.damage};
  if (got.allocations + truth.allocations > 0)
    return {"run took memory " + std::to_string(got.allocations) + " times (the reference " +
            std::to_string(truth.allocations) + ")"};
  Comparison result;
  if (c.record.out >= 0) result = compare_output(c, bounds, got.out, truth.out);
  if (result.wrong.empty()) result.wrong = cache_difference("self", c, bounds.self_limit, got.self_kv, truth.self_kv);
  if (result.wrong.empty()) result.wrong = cache_difference("cross", c, {}, got.cross_kv, truth.cross_kv);
  for (size_t i = 0; i < got.sampled.size() && result.wrong.empty(); ++i) {
    result.wrong = sampled_difference(got.sampled[i], truth.sampled[i]);
    if (!result.wrong.empty()) result.wrong = "out row " + std::to_string(i) + ": " + result.wrong;
  }
  return result;
}

}  // namespace nvlm::test
