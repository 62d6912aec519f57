// Records a program: each method appends one op and returns the tensor it writes, so that the model files read like the
// spec.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/weights.h"
#include "ops/ops.h"

namespace nvlm {

// A tensor of the program being recorded.
struct Value {
  int32_t id = -1;
};

// A linear layer's numbers in the weight table.
struct Linear {
  WeightId w = kNoWeight, bias = kNoWeight;
};

// A recorded program with its arena planned; view() is what a backend compiles.
struct Program {
  std::string name;
  std::vector<nvlm_record> records;
  std::vector<nvlm_tensor> tensors;
  int64_t max_count[NVLM_EXTENT_COUNT] = {0, 0, 0};
  int64_t max_self_pages = 0, max_cross_pages = 0, max_history = 0;
  uint64_t arena_bytes = 0;
  int32_t output = -1;  // tensor that is still whole after a run; -1: none

  nvlm_program view(const WeightTable& weights, void* arena, const nvlm_kv_cache& self_kv,
                    const nvlm_kv_cache& cross_kv) const;
  std::vector<std::string> lines() const;  // one op a line, to be read by people
};

class ProgramBuilder {
 public:
  // `activations`: the device's type of every tensor but the logits.
  ProgramBuilder(std::string name, const WeightTable& weights, nvlm_dtype activations)
      : weights_(weights), activations_(activations) {
    program_.name = std::move(name);
  }

  // u8 pixels of the batch's tiles -> [tiles * (patches + 1), n], class token first, positions added.
  Value patch_embed(Linear patch, WeightId class_token, WeightId positions, int tile_side, int patch_side);
  Value rms_norm(Value x, WeightId w, float eps);
  Value layer_norm(Value x, WeightId w, WeightId bias, float eps);
  void qk_norm(Value qkv, WeightId q, WeightId k, int true_width, float eps);
  Value linear(Value x, Linear l);
  Value linear_gelu(Value x, Linear l);
  Value linear_swiglu(Value x, WeightId gate_up);
  // x += scale ⊙ linear(h): scale per column (LayerScale), or none.
  void linear_residual(Value x, Value h, Linear l, WeightId scale = kNoWeight);
  // x += tanh(gate) · linear(h)
  void linear_gated_residual(Value x, Value h, Linear l, WeightId gate);
  void rope_kv_write(Value qkv, int heads, int kv_heads, int head_dim, float theta, int layer);
  void kv_write(Value kv, int kv_heads, int head_dim, int cross_layer);
  Value attention(Value q, nvlm_key_source keys, int heads, int kv_heads, int head_dim, int layer);
  Value tile_attention(Value qkv, int heads, int head_dim, int tile_rows);
  Value pixel_shuffle_norm(Value x, WeightId w, WeightId bias, float eps, int grid, int ratio, bool transposed);
  Value embed(WeightId table);
  Value gather_rows(Value x);
  Value logits(Value x, WeightId head);
  void sample(Value logits);

  // `output`: what is read after a run.
  Program finish(int64_t max_tiles, int64_t max_rows, int64_t max_outs, Value output = {});

 private:
  Value norm(nvlm_op op, Value x, WeightId w, WeightId bias, float eps);
  Value product(nvlm_op op, Value x, Linear l);
  Value add(nvlm_record record, nvlm_extent extent, int64_t rows_each, int64_t cols);
  Value add_like(nvlm_record record, Value like, int64_t cols);
  void add_in_place(nvlm_record record);

  const WeightTable& weights_;
  const nvlm_dtype activations_;
  Program program_;
};

}  // namespace nvlm
