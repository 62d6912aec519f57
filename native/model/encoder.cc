#include "model/encoder.h"

namespace nvlm {
namespace {

Value norm(ProgramBuilder& p, Value x, WeightId w, WeightId bias, const VisionConfig& c) {
  return c.rms_norm ? p.rms_norm(x, w, c.eps) : p.layer_norm(x, w, bias, c.eps);
}

EncoderLayer declare_layer(WeightTable& weights, const EncoderNames& names, const VisionConfig& c, int i) {
  const int64_t hidden = c.hidden;  // stored wider where there are dummy heads, which are left out
  const auto linear = [&](const WeightAndBias& name) {
    return Linear{weights.matrix({name.weight}, i), weights.vector({name.bias}, i)};
  };
  EncoderLayer layer;
  layer.norm1 = weights.vector({names.norm1.weight}, i);
  if (!c.rms_norm) layer.norm1_bias = weights.vector({names.norm1.bias}, i);
  layer.norm2 = weights.vector({names.norm2.weight}, i);
  if (!c.rms_norm) layer.norm2_bias = weights.vector({names.norm2.bias}, i);
  layer.qkv.w = weights.kept_rows({names.q.weight, names.k.weight, names.v.weight}, i, hidden);
  if (c.qkv_bias) layer.qkv.bias = weights.kept_vector({names.q.bias, names.k.bias, names.v.bias}, i, hidden);
  if (c.qk_norm) layer.q_norm = weights.first_of_vector(names.q_norm, i, hidden);
  if (c.qk_norm) layer.k_norm = weights.first_of_vector(names.k_norm, i, hidden);
  layer.proj.w = weights.first_columns(names.proj.weight, i, hidden);
  layer.proj.bias = weights.vector({names.proj.bias}, i);
  layer.fc1 = linear(names.fc1);
  layer.fc2 = linear(names.fc2);
  layer.ls1 = weights.vector({names.ls1}, i);
  layer.ls2 = weights.vector({names.ls2}, i);
  return layer;
}

}  // namespace

EncoderWeights declare_encoder(WeightTable& weights, const EncoderNames& names, const VisionConfig& c) {
  EncoderWeights w;
  w.patch = {weights.matrix({names.patch.weight}), weights.vector({names.patch.bias})};
  w.class_token = weights.vector({names.class_token});
  w.positions = weights.vector({names.positions});
  for (int i = 0; i < c.layers; ++i) w.layers.push_back(declare_layer(weights, names, c, i));
  return w;
}

Value record_encoder(ProgramBuilder& p, const EncoderWeights& w, const VisionConfig& c) {
  const int tile_rows = c.grid() * c.grid() + 1;
  const Value x = p.patch_embed(w.patch, w.class_token, w.positions, c.image_size, c.patch);
  for (const EncoderLayer& layer : w.layers) {
    // x += ls1 · proj(attn(norm1(x)))
    const Value qkv = p.linear(norm(p, x, layer.norm1, layer.norm1_bias, c), layer.qkv);
    if (c.qk_norm) p.qk_norm(qkv, layer.q_norm, layer.k_norm, c.hidden, c.eps);
    p.linear_residual(x, p.tile_attention(qkv, c.heads, c.head_dim, tile_rows), layer.proj, layer.ls1);
    // x += ls2 · fc2(gelu(fc1(norm2(x))))
    const Value h = p.linear_gelu(norm(p, x, layer.norm2, layer.norm2_bias, c), layer.fc1);
    p.linear_residual(x, h, layer.fc2, layer.ls2);
  }
  return x;
}

}  // namespace nvlm
