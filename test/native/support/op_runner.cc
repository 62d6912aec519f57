#include "support/op_runner.h"

#include <algorithm>
#include <sstream>
#include <stdexcept>

#include "support/op_allocations.h"

namespace nvlm::test {
namespace {

constexpr uint32_t kPoison = 0x7fc0beefu;  // a NaN that no arithmetic makes
constexpr int64_t kGuard = 64;             // floats before, between and behind tensors and caches

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

int64_t count_of(const int64_t (&counts)[NVLM_EXTENT_COUNT], nvlm_extent e) { return counts[e]; }

}  // namespace

Device::Device(const std::string& set, int threads) : name_(set) {
  const bool reference = set == "reference";
  backend_ = reference ? nvlm_reference_backend() : nvlm_cpu_backend();
  const nvlm_open_options options{threads, reference ? nullptr : set.c_str()};
  if (backend_->open(&options, &device_) != NVLM_OK) throw std::runtime_error(backend_->last_error(nullptr));
}

Device::~Device() { backend_->close(device_); }

void* Loaded::alloc(uint64_t bytes) {
  void* memory = nullptr;
  if (device_.table().alloc(device_.handle(), bytes, &memory) != NVLM_OK) throw std::runtime_error(device_.table().last_error(device_.handle()));
  memory_.emplace_back(memory, bytes);
  return memory;
}

nvlm_kv_cache Loaded::cache(const Cache& from) {
  nvlm_kv_cache kv{nullptr, from.layers, from.pages, from.kv_heads, from.head_dim};
  if (!from.layers) return kv;
  const uint64_t floats = nvlm_kv_cache_bytes(&kv) / sizeof(float);
  std::vector<float> data(floats + 2 * kGuard, poison());
  std::copy(from.data.begin(), from.data.end(), data.begin() + kGuard);
  auto* memory = static_cast<float*>(alloc(data.size() * sizeof(float)));
  device_.table().write(device_.handle(), memory, data.data(), data.size() * sizeof(float));
  kv.memory = memory + kGuard;
  return kv;
}

Loaded::Loaded(const Device& device, const OpCase& c) : device_(device), case_(c) {
  const nvlm_backend& table = device.table();
  // One more of each than the batch has, so that rows behind the batch's exist and must stay as they are.
  const int64_t counts[NVLM_EXTENT_COUNT] = {c.batch.tiles + 1, c.batch.rows + 1, c.batch.outs + 1};
  uint64_t floats = kGuard;
  for (const Tensor& t : c.tensors) {
    tensors_.push_back({t.extent, t.rows_each, t.cols, floats * sizeof(float)});
    floats += static_cast<uint64_t>(t.rows_each * count_of(counts, t.extent) * t.cols + kGuard);
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
    if (table.used_bytes(device.handle()) - before != planned) throw std::runtime_error("a weight took other bytes than weight_bytes said");
  }
  program_.name = "case";
  program_.records = &c.record;
  program_.record_count = 1;
  program_.tensors = tensors_.data();
  program_.tensor_count = static_cast<int32_t>(tensors_.size());
  program_.weights = weights_.data();
  program_.weight_count = static_cast<int32_t>(weights_.size());
  std::copy_n(counts, NVLM_EXTENT_COUNT, program_.max_count);
  program_.arena_bytes = floats * sizeof(float);
  program_.arena = alloc(program_.arena_bytes);
  program_.self_kv = cache(c.self_kv);
  program_.cross_kv = cache(c.cross_kv);
  const uint64_t before = table.used_bytes(device.handle());
  status = table.compile(device.handle(), &program_, &plan_);
  if (status != NVLM_OK) {
    error = table.last_error(device.handle());
    return;
  }
  const uint64_t taken = table.used_bytes(device.handle()) - before, planned = table.plan_bytes(device.handle(), &program_);
  if (taken != planned) throw std::runtime_error("a plan took " + std::to_string(taken) + " bytes, but plan_bytes said " + std::to_string(planned));
}

Loaded::~Loaded() {
  const nvlm_backend& table = device_.table();
  if (plan_) table.free_plan(device_.handle(), plan_);
  for (nvlm_weight* w : weights_) table.free_weight(device_.handle(), w);
  for (const auto& [memory, bytes] : memory_) table.free(device_.handle(), memory, bytes);
}

std::vector<float> Loaded::read_tensor(const nvlm_tensor& tensor, int64_t rows) const {
  std::vector<float> values(static_cast<size_t>(rows * tensor.cols));
  device_.table().read(device_.handle(), values.data(), static_cast<char*>(program_.arena) + tensor.offset, values.size() * sizeof(float));
  return values;
}

Outcome Loaded::run() {
  const nvlm_backend& table = device_.table();
  Outcome o;
  if ((o.status = status) != NVLM_OK) {
    o.error = error;
    return o;
  }
  std::vector<float> before(program_.arena_bytes / sizeof(float), poison());
  for (size_t t = 0; t < tensors_.size(); ++t) std::copy(case_.tensors[t].data.begin(), case_.tensors[t].data.end(), before.begin() + static_cast<int64_t>(tensors_[t].offset / sizeof(float)));
  table.write(device_.handle(), program_.arena, before.data(), program_.arena_bytes);
  o.sampled.resize(static_cast<size_t>(case_.batch.outs));
  const nvlm_batch batch = case_.batch.view(case_.batch.sampling.empty() ? nullptr : o.sampled.data());
  const int64_t allocated = allocations();
  o.status = run(batch);
  o.allocations = allocations() - allocated;
  if (o.status != NVLM_OK || (o.status = table.wait(device_.handle())) != NVLM_OK) {
    o.error = table.last_error(device_.handle());
    return o;
  }
  std::vector<float> after(before.size());
  table.read(device_.handle(), after.data(), program_.arena, program_.arena_bytes);
  int64_t from = 0, to = 0;
  if (case_.record.out >= 0) {
    const nvlm_tensor& out = tensors_[static_cast<size_t>(case_.record.out)];
    const int64_t rows = case_.rows(case_.tensors[static_cast<size_t>(case_.record.out)]);
    o.out = read_tensor(out, rows);
    from = static_cast<int64_t>(out.offset / sizeof(float));
    to = from + rows * out.cols;
  }
  for (int64_t i = 0; i < static_cast<int64_t>(after.size()); ++i) {
    if ((i < from || i >= to) && bits(after[static_cast<size_t>(i)]) != bits(before[static_cast<size_t>(i)])) {
      o.damage = "float " + std::to_string(i) + " of the arena changed, which is not output (output: " + std::to_string(from) + " to " + std::to_string(to) + ")";
      break;
    }
  }
  const auto read_cache = [&](const nvlm_kv_cache& kv, std::vector<float>& values) {
    if (!kv.memory) return;
    values.resize(nvlm_kv_cache_bytes(&kv) / sizeof(float) + 2 * kGuard);
    table.read(device_.handle(), values.data(), static_cast<float*>(kv.memory) - kGuard, values.size() * sizeof(float));
  };
  read_cache(program_.self_kv, o.self_kv);
  read_cache(program_.cross_kv, o.cross_kv);
  return o;
}

Outcome run_case(const Device& device, const OpCase& c) { return Loaded(device, c).run(); }

namespace {

std::string coordinate(int64_t i, int64_t cols) { return "[" + std::to_string(i / cols) + ", " + std::to_string(i % cols) + "]"; }

Comparison compare_output(const OpCase& c, const Bounds& bounds, const std::vector<float>& got, const std::vector<float>& truth) {
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
    text << (bits(got[i]) == kPoison ? "nothing was written at " : "not finite at ") << coordinate(static_cast<int64_t>(i), cols) << ", expected " << truth[i];
    return {text.str()};
  }
  double error = 0, size = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double d = std::abs(static_cast<double>(got[i]) - truth[i]);
    error += d * d;
    size += bounds.size[i] * bounds.size[i];
    if (d > 0) result.of_limit = std::max(result.of_limit, d / bounds.limit[i]);
    if (d <= bounds.limit[i]) continue;
    text << "at " << coordinate(static_cast<int64_t>(i), cols) << " expected " << truth[i] << " but got " << got[i] << ": error " << d << ", limit " << bounds.limit[i];
    return {text.str()};
  }
  const double rms = size > 0 ? std::sqrt(error / size) : std::sqrt(error);
  if (rms > 0) result.of_limit = std::max(result.of_limit, rms / bounds.rms);
  if (rms <= bounds.rms) return result;
  text << "root mean square error " << rms / kUnit << " units, limit " << bounds.rms / kUnit;
  return {text.str()};
}

std::string cache_difference(const char* kind, double limit, const std::vector<float>& got, const std::vector<float>& truth) {
  for (size_t i = 0; i < truth.size(); ++i) {
    if (bits(got[i]) == bits(truth[i]) || std::abs(static_cast<double>(got[i]) - truth[i]) <= limit) continue;  // poison must stay poison
    std::ostringstream text;
    text << "float " << static_cast<int64_t>(i) - kGuard << " of the " << kind << " cache: expected " << truth[i] << " but got " << got[i];
    return text.str();
  }
  return {};
}

}  // namespace

Bounds bounds_of(const OpCase& c, const Outcome& truth) {
  if (c.bounds && truth.status == NVLM_OK) return c.bounds(truth.out);
  return {std::vector<double>(truth.out.size(), 0), std::vector<double>(truth.out.size(), 1), 0};
}

Comparison compare(const OpCase& c, const Bounds& bounds, const Outcome& got, const Outcome& truth) {
  if (truth.status != NVLM_OK) return {"the reference failed: " + truth.error};
  if (got.status != NVLM_OK) return {"failed: " + got.error};
  if (!truth.damage.empty()) return {"the reference wrote where it must not: " + truth.damage};
  if (!got.damage.empty()) return {got.damage};
  if (got.allocations + truth.allocations > 0) return {"run took memory " + std::to_string(got.allocations) + " times (the reference " + std::to_string(truth.allocations) + ")"};
  Comparison result;
  if (c.record.out >= 0) result = compare_output(c, bounds, got.out, truth.out);
  if (result.wrong.empty()) result.wrong = cache_difference("self", c.cache_limit, got.self_kv, truth.self_kv);
  if (result.wrong.empty()) result.wrong = cache_difference("cross", c.cache_limit, got.cross_kv, truth.cross_kv);
  for (size_t i = 0; i < got.sampled.size() && result.wrong.empty(); ++i) {
    if (got.sampled[i].token != truth.sampled[i].token) result.wrong = "another token was sampled for out row " + std::to_string(i);
  }
  return result;
}

}  // namespace nvlm::test
