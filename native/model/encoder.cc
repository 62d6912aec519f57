#include "model/encoder.h"

namespace nvlm {
namespace {

Value norm(ProgramBuilder& p, Value x, Weight w, Weight bias, const VisionConfig& c) {
  return c.rms_norm ? p.rms_norm(x, w, c.eps) : p.layer_norm(x, w, bias, c.eps);
}

EncoderLayer declare_layer(WeightTable& weights, const VisionConfig& c, const std::string& prefix) {
  // Stored > hidden: with dummy heads, which are left out.
  const int64_t hidden = c.hidden, stored = c.attention_width, mlp = c.mlp;
  const auto vector = [&](const std::string& name, int64_t n) { return weights.vector(prefix + name, {n}); };
  const auto linear = [&](const std::string& name, int64_t rows, int64_t cols) {
    return Linear{weights.matrix(prefix + name + ".weight", rows, cols), vector(name + ".bias", rows)};
  };
  EncoderLayer layer;
  layer.norm1 = vector("norm1.weight", hidden);
  layer.norm1_bias = c.rms_norm ? kNoWeight : vector("norm1.bias", hidden);
  layer.norm2 = vector("norm2.weight", hidden);
  layer.norm2_bias = c.rms_norm ? kNoWeight : vector("norm2.bias", hidden);
  layer.qkv.w = weights.qkv_matrix(prefix + "attn.qkv.weight", stored, hidden, hidden);
  if (c.qkv_bias) layer.qkv.bias = weights.qkv_vector(prefix + "attn.qkv.bias", stored, hidden);
  layer.q_norm = c.qk_norm ? weights.first_of_vector(prefix + "attn.q_norm.weight", stored, hidden) : kNoWeight;
  layer.k_norm = c.qk_norm ? weights.first_of_vector(prefix + "attn.k_norm.weight", stored, hidden) : kNoWeight;
  layer.proj.w = weights.first_columns(prefix + "attn.proj.weight", hidden, stored, hidden);
  layer.proj.bias = vector("attn.proj.bias", hidden);
  layer.fc1 = linear("mlp.fc1", mlp, hidden);
  layer.fc2 = linear("mlp.fc2", hidden, mlp);
  layer.ls1 = vector("ls1", hidden);
  layer.ls2 = vector("ls2", hidden);
  return layer;
}

}  // namespace

EncoderWeights declare_encoder(WeightTable& weights, const VisionConfig& c) {
  const std::string prefix = "vision_model.embeddings.";
  const int64_t hidden = c.hidden, patches = static_cast<int64_t>(c.grid()) * c.grid();
  EncoderWeights w;
  w.patch.w = weights.kernel(prefix + "patch_embedding.weight", {hidden, 3, c.patch, c.patch});
  w.patch.bias = weights.vector(prefix + "patch_embedding.bias", {hidden});
  w.class_token = weights.vector(prefix + "class_embedding", {1, 1, hidden});
  w.positions = weights.vector(prefix + "position_embedding", {1, patches + 1, hidden});
  for (int i = 0; i < c.layers; ++i)
    w.layers.push_back(declare_layer(weights, c, "vision_model.encoder.layers." + std::to_string(i) + "."));
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
