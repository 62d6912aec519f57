// One op, or a short chain of them, with its operands: what a case file under cases/ describes and the runner runs on
// every backend.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ops/ops.h"
#include "support/split_mix.h"

namespace nvlm::test {

// Half the distance of neighbouring float32 values at 1: the relative error of one rounding.
constexpr double kUnit = 0x1p-24;

// Seeded by the case's name, so that a case is the same alone and among others.
class Random : public SplitMix64 {
 public:
  explicit Random(const std::string& name) : SplitMix64(hash(name)) {}
  int64_t below(int64_t end) { return static_cast<int64_t>(bits() % static_cast<uint64_t>(end)); }
  float uniform(float low, float high) { return low + (high - low) * static_cast<float>(bits() >> 40) * 0x1p-24f; }
  std::vector<float> uniforms(int64_t count, float low = -1, float high = 1) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& v : values) v = uniform(low, high);
    return values;
  }

 private:
  static uint64_t hash(const std::string& name) {  // FNV-1a
    uint64_t h = 0xcbf29ce484222325u;
    for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    return h;
  }
};

struct Weight {
  struct Part {
    nvlm_dtype dtype;
    int64_t rows, cols, stride;
    std::vector<uint8_t> bytes;  // the tensor starts at byte 1: stored data may be unaligned
  };
  nvlm_weight_use use = NVLM_VECTOR;
  bool interleave = false;
  std::vector<Part> parts;
  std::vector<float> values;  // as the op sees them: all rows in their final order, dense

  nvlm_weight_source source() const;
};

// float32 values as a vector; with several lengths, in as many parts.
Weight vector_weight(const std::vector<float>& values);
// Random rows in parts stored as dtype, each value in about [-1, 1]; rows lie `gap` elements further apart than they
// are long.
Weight matrix_weight(Random& random, nvlm_weight_use use, const std::vector<int64_t>& part_rows, int64_t cols,
                     nvlm_dtype dtype, bool interleave = false, int64_t gap = 0);

struct Tensor {
  nvlm_extent extent;
  int64_t rows_each, cols;
  std::vector<float> data;  // empty: written by the op, NaN before
};

struct PageList {
  std::vector<int32_t> begin{0}, page, fill;
};

struct Batch {
  int64_t tiles = 0, rows = 0, outs = 0;
  std::vector<uint8_t> pixels;
  std::vector<int32_t> token, position, self_begin, self_end, cross_begin, cross_end, row_begin, out_row;
  std::vector<const void*> source;
  std::vector<int64_t> kv_slot;
  PageList self_pages, cross_pages;
  std::vector<nvlm_sampling> sampling;

  nvlm_batch view(nvlm_sampled* sampled) const;
};

struct Cache {
  int32_t layers = 0, pages = 0, kv_heads = 0, head_dim = 0;
  std::vector<float> data;  // empty: NaN

  // Where in data the head_dim elements of a head's key, or its value, begin. Slot: page * 64 + place.
  size_t key_at(int32_t layer, int64_t slot, int32_t head) const { return at(2 * int64_t{layer}, slot, head); }
  size_t value_at(int32_t layer, int64_t slot, int32_t head) const { return at(2 * int64_t{layer} + 1, slot, head); }
  size_t elements() const { return at(2 * int64_t{layers}, 0, 0); }

 private:
  size_t at(int64_t kind, int64_t slot, int32_t head) const {
    const int64_t page = kind * pages + slot / NVLM_PAGE_KEYS;
    return static_cast<size_t>(((page * kv_heads + head) * NVLM_PAGE_KEYS + slot % NVLM_PAGE_KEYS) * head_dim);
  }
};

// |got − truth| ≤ limit for each element, and √(Σ error² / Σ size²) ≤ rms. `size`: the magnitude from which an element
// is summed.
struct Bounds {
  std::vector<double> limit, size;
  double rms = 0;
  std::vector<double> self_limit{};  // of each element of the self cache; empty: the case's own
};

struct OpCase {
  std::string name;
  std::vector<nvlm_record> before;  // a chain: these run first, `record` last. Mostly none
  nvlm_record record = nvlm_empty_record(NVLM_OP_COUNT);
  std::vector<Tensor> tensors;
  std::vector<Weight> weights;
  Batch batch;
  Cache self_kv, cross_kv;
  // Of the output tensor; unset: bit for bit, and of a chain what op_chain.h derives.
  std::function<Bounds(const std::vector<float>& truth)> bounds;
  // Of what the op writes to a cache: absolute, and of the value.
  double cache_limit = 0, cache_relative = 0;
  // Of what the device writes, relative: half an ulp of bf16, 0 for float32.
  double rounding = 0;
  // That a CUDA device makes of the records; 0: not said.
  int launches = 0;
  std::shared_ptr<void> kept;   // memory that the batch points to
  double flops = 0, bytes = 0;  // for --time

  int32_t add(Tensor tensor) {
    tensors.push_back(std::move(tensor));
    return static_cast<int32_t>(tensors.size()) - 1;
  }
  int32_t add(Weight weight) {
    weights.push_back(std::move(weight));
    return static_cast<int32_t>(weights.size()) - 1;
  }
  std::vector<nvlm_record> records() const {
    std::vector<nvlm_record> all = before;
    all.push_back(record);
    return all;
  }
  int64_t rows(const Tensor& t) const {
    return t.rows_each * (t.extent == NVLM_TILES ? batch.tiles : t.extent == NVLM_ROWS ? batch.rows : batch.outs);
  }
};

inline const char* dtype_name(nvlm_dtype d) { return d == NVLM_F32 ? "f32" : d == NVLM_BF16 ? "bf16" : "f16"; }

}  // namespace nvlm::test
