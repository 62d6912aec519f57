#include "model/program.h"

#include <cstdio>

#include "ops/op_info.h"
#include "ops/planner.h"

namespace nvlm {

Value ProgramBuilder::add(nvlm_record r, nvlm_extent extent, int64_t rows_each, int64_t cols) {
  program_.tensors.push_back({extent, rows_each, cols, 0, r.op == NVLM_LOGITS ? NVLM_F32 : activations_});
  r.out = static_cast<int32_t>(program_.tensors.size()) - 1;
  program_.records.push_back(r);
  return {r.out};
}

Value ProgramBuilder::add_like(nvlm_record r, Value like, int64_t cols) {
  const nvlm_tensor t = program_.tensors[like.id];
  return add(r, t.extent, t.rows_each, cols);
}

void ProgramBuilder::add_in_place(nvlm_record r) { program_.records.push_back(r); }

Value ProgramBuilder::patch_embed(Linear patch, WeightId class_token, WeightId positions, int tile_side,
                                  int patch_side) {
  nvlm_record r = nvlm_empty_record(NVLM_PATCH_EMBED);
  r.w = patch.w;
  r.bias = patch.bias;
  r.class_token = class_token;
  r.positions = positions;
  r.c.side = tile_side;
  r.c.patch = patch_side;
  const int64_t grid = tile_side / patch_side;
  return add(r, NVLM_TILES, grid * grid + 1, weights_.rows(patch.w));
}

Value ProgramBuilder::norm(nvlm_op op, Value x, WeightId w, WeightId bias, float eps) {
  nvlm_record r = nvlm_empty_record(op);
  r.in = x.id;
  r.w = w;
  r.bias = bias;
  r.c.eps = eps;
  return add_like(r, x, program_.tensors[x.id].cols);
}

Value ProgramBuilder::rms_norm(Value x, WeightId w, float eps) { return norm(NVLM_RMS_NORM, x, w, kNoWeight, eps); }
Value ProgramBuilder::layer_norm(Value x, WeightId w, WeightId bias, float eps) {
  return norm(NVLM_LAYER_NORM, x, w, bias, eps);
}

void ProgramBuilder::qk_norm(Value qkv, WeightId q, WeightId k, int true_width, float eps) {
  nvlm_record r = nvlm_empty_record(NVLM_QK_NORM);
  r.out = qkv.id;
  r.q_norm = q;
  r.k_norm = k;
  r.c.true_width = true_width;
  r.c.eps = eps;
  add_in_place(r);
}

Value ProgramBuilder::product(nvlm_op op, Value x, Linear l) {
  nvlm_record r = nvlm_empty_record(op);
  r.in = x.id;
  r.w = l.w;
  r.bias = l.bias;
  return add_like(r, x, weights_.rows(l.w));
}

Value ProgramBuilder::linear(Value x, Linear l) { return product(NVLM_LINEAR, x, l); }
Value ProgramBuilder::linear_gelu(Value x, Linear l) { return product(NVLM_LINEAR_GELU, x, l); }
Value ProgramBuilder::linear_swiglu(Value x, WeightId gate_up) {
  return product(NVLM_LINEAR_SWIGLU, x, {gate_up, kNoWeight});
}
Value ProgramBuilder::logits(Value x, WeightId head) { return product(NVLM_LOGITS, x, {head, kNoWeight}); }

void ProgramBuilder::linear_residual(Value x, Value h, Linear l, WeightId scale) {
  nvlm_record r = nvlm_empty_record(NVLM_LINEAR_RESIDUAL);
  r.in = h.id;
  r.out = x.id;
  r.w = l.w;
  r.bias = l.bias;
  r.scale = scale;
  add_in_place(r);
}

void ProgramBuilder::linear_gated_residual(Value x, Value h, Linear l, WeightId gate) {
  linear_residual(x, h, l, gate);
  program_.records.back().c.tanh_gate = 1;
}

void ProgramBuilder::rope_kv_write(Value qkv, int heads, int kv_heads, int head_dim, float theta, int layer) {
  nvlm_record r = nvlm_empty_record(NVLM_ROPE_KV_WRITE);
  r.out = qkv.id;
  r.c.heads = heads;
  r.c.kv_heads = kv_heads;
  r.c.head_dim = head_dim;
  r.c.rope_theta = theta;
  r.c.layer = layer;
  add_in_place(r);
}

void ProgramBuilder::kv_write(Value kv, int kv_heads, int head_dim, int cross_layer) {
  nvlm_record r = nvlm_empty_record(NVLM_KV_WRITE);
  r.in = kv.id;
  r.c.kv_heads = kv_heads;
  r.c.head_dim = head_dim;
  r.c.layer = cross_layer;
  add_in_place(r);
}

Value ProgramBuilder::attention(Value q, nvlm_key_source keys, int heads, int kv_heads, int head_dim, int layer) {
  nvlm_record r = nvlm_empty_record(NVLM_ATTENTION);
  r.in = q.id;
  r.c.source = keys;
  r.c.heads = heads;
  r.c.kv_heads = kv_heads;
  r.c.head_dim = head_dim;
  r.c.layer = layer;
  return add_like(r, q, static_cast<int64_t>(heads) * head_dim);
}

Value ProgramBuilder::tile_attention(Value qkv, int heads, int head_dim, int tile_rows) {
  const Value out = attention(qkv, NVLM_KEYS_TILE, heads, heads, head_dim, 0);
  program_.records.back().c.rows_each = tile_rows;
  return out;
}

Value ProgramBuilder::pixel_shuffle_norm(Value x, WeightId w, WeightId bias, float eps, int grid, int ratio,
                                         bool transposed) {
  nvlm_record r = nvlm_empty_record(NVLM_PIXEL_SHUFFLE_NORM);
  r.in = x.id;
  r.w = w;
  r.bias = bias;
  r.c.eps = eps;
  r.c.grid = grid;
  r.c.ratio = ratio;
  r.c.transpose = transposed ? 1 : 0;
  const int64_t side = grid / ratio;
  return add(r, NVLM_TILES, side * side, program_.tensors[x.id].cols * ratio * ratio);
}

Value ProgramBuilder::embed(WeightId table) {
  nvlm_record r = nvlm_empty_record(NVLM_EMBED);
  r.w = table;
  return add(r, NVLM_ROWS, 1, weights_.cols(table));
}

Value ProgramBuilder::gather_rows(Value x) {
  nvlm_record r = nvlm_empty_record(NVLM_GATHER_ROWS);
  r.in = x.id;
  return add(r, NVLM_OUTS, 1, program_.tensors[x.id].cols);
}

void ProgramBuilder::sample(Value logits) {
  nvlm_record r = nvlm_empty_record(NVLM_SAMPLE);
  r.in = logits.id;
  add_in_place(r);
}

Program ProgramBuilder::finish(int64_t max_tiles, int64_t max_rows, int64_t max_outs, Value output) {
  program_.max_count[NVLM_TILES] = max_tiles;
  program_.max_count[NVLM_ROWS] = max_rows;
  program_.max_count[NVLM_OUTS] = max_outs;
  program_.output = output.id;
  std::vector<int32_t> kept;
  if (output.id >= 0) kept.push_back(output.id);
  program_.arena_bytes = plan_arena(program_.tensors, program_.records, program_.max_count, kept);
  return std::move(program_);
}

nvlm_program Program::view(const WeightTable& weights, void* arena, const nvlm_kv_cache& self_kv,
                           const nvlm_kv_cache& cross_kv) const {
  nvlm_program p{};
  p.name = name.c_str();
  p.records = records.data();
  p.record_count = static_cast<int32_t>(records.size());
  p.tensors = tensors.data();
  p.tensor_count = static_cast<int32_t>(tensors.size());
  p.weights = weights.data();
  p.weight_count = weights.size();
  for (int e = 0; e < NVLM_EXTENT_COUNT; ++e) p.max_count[e] = max_count[e];
  p.max_self_pages = max_self_pages;
  p.max_cross_pages = max_cross_pages;
  p.max_history = max_history;
  p.arena_bytes = arena_bytes;
  p.arena = arena;
  p.self_kv = self_kv;
  p.cross_kv = cross_kv;
  return p;
}

std::vector<std::string> Program::lines() const {
  static constexpr const char* kExtents[NVLM_EXTENT_COUNT] = {"tiles", "rows", "outs"};
  std::vector<std::string> out;
  for (const nvlm_record& r : records) {
    const nvlm_tensor& t = tensors[r.out >= 0 ? r.out : r.in];
    char line[160];
    const char* suffix = r.op != NVLM_ATTENTION          ? (r.c.tanh_gate ? "tanh gate" : "")
                         : r.c.source == NVLM_KEYS_CROSS ? "cross"
                         : r.c.source == NVLM_KEYS_TILE  ? "tile"
                                                         : "self";
    std::snprintf(line, sizeof line, "%-18s %-9s t%-3d [%s%s%s, %lld]", op_name(r.op), suffix,
                  r.out >= 0 ? r.out : r.in, kExtents[t.extent], t.rows_each == 1 ? "" : "*",
                  t.rows_each == 1 ? "" : std::to_string(t.rows_each).c_str(), static_cast<long long>(t.cols));
    out.emplace_back(line);
  }
  return out;
}

}  // namespace nvlm
