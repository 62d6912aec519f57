#include "model/tensor_names.h"

#include "model/config.h"

namespace nvlm {
namespace {

WeightAndBias norm(const std::string& name, int64_t width) {
  return {{name + ".weight", {width}}, {name + ".bias", {width}}};
}

WeightAndBias linear(const std::string& name, int64_t rows, int64_t cols) {
  return {{name + ".weight", {rows, cols}}, {name + ".bias", {rows}}};
}

// A part of a fused linear layer's rows.
WeightAndBias part_of(WeightAndBias fused, int part, int parts) {
  for (TensorName* name : {&fused.weight, &fused.bias}) {
    name->part = part;
    name->parts = parts;
  }
  return fused;
}

EncoderNames encoder_names(const VisionConfig& c) {
  // stored: rows of q, dummy heads included.
  const int64_t hidden = c.hidden, stored = c.attention_width, mlp = c.mlp;
  const int64_t patches = static_cast<int64_t>(c.grid()) * c.grid();
  const std::string embeddings = "vision_model.embeddings.", layer = "vision_model.encoder.layers.{i}.";
  const WeightAndBias qkv = linear(layer + "attn.qkv", 3 * stored, hidden);
  return {
      .class_token = {embeddings + "class_embedding", {1, 1, hidden}},
      .positions = {embeddings + "position_embedding", {1, patches + 1, hidden}},
      .patch = {{embeddings + "patch_embedding.weight", {hidden, 3, c.patch, c.patch}},
                {embeddings + "patch_embedding.bias", {hidden}}},
      .layer = layer,
      .norm1 = norm(layer + "norm1", hidden),
      .norm2 = norm(layer + "norm2", hidden),
      .q = part_of(qkv, 0, 3),
      .k = part_of(qkv, 1, 3),
      .v = part_of(qkv, 2, 3),
      .proj = linear(layer + "attn.proj", hidden, stored),
      .q_norm = {layer + "attn.q_norm.weight", {stored}},
      .k_norm = {layer + "attn.k_norm.weight", {stored}},
      .fc1 = linear(layer + "mlp.fc1", mlp, hidden),
      .fc2 = linear(layer + "mlp.fc2", hidden, mlp),
      .ls1 = {layer + "ls1", {hidden}},
      .ls2 = {layer + "ls2", {hidden}},
  };
}

ProjectorNames projector_names(const ModelConfig& config) {
  const int64_t in = config.projector.in, out = config.decoder.hidden;
  const int64_t hidden = config.projector.layers == 1 ? out : config.projector.hidden;
  return {
      .norm = norm("mlp1.0", in),
      .first = {"mlp1.1.weight", {hidden, in}},
      .second = {"mlp1.3.weight", {out, hidden}},
  };
}

DecoderNames decoder_names(const DecoderConfig& c, const CrossConfig& cross) {
  const int64_t hidden = c.hidden, vocab = c.vocab, mlp = c.mlp;
  const int64_t q = static_cast<int64_t>(c.heads) * c.head_dim, kv = static_cast<int64_t>(c.kv_heads) * c.head_dim;
  const int64_t cross_q = static_cast<int64_t>(cross.heads) * cross.head_dim,
                cross_kv = static_cast<int64_t>(cross.kv_heads) * cross.head_dim;
  const std::string model = "language_model.model.", layer = model + "layers.{i}.";
  return {
      .embed = {model + "embed_tokens.weight", {vocab, hidden}},
      .attention_norm = {layer + "input_layernorm.weight", {hidden}},
      .q = linear(layer + "self_attn.q_proj", q, hidden),
      .k = linear(layer + "self_attn.k_proj", kv, hidden),
      .v = linear(layer + "self_attn.v_proj", kv, hidden),
      .o = {layer + "self_attn.o_proj.weight", {hidden, q}},
      .cross_norm = {layer + "cross_attn_norm.weight", {hidden}},
      .cross_q = {layer + "cross_attn.q_proj.weight", {cross_q, hidden}},
      .cross_k = {layer + "cross_attn.k_proj.weight", {cross_kv, hidden}},
      .cross_v = {layer + "cross_attn.v_proj.weight", {cross_kv, hidden}},
      .cross_o = {layer + "cross_attn.o_proj.weight", {hidden, cross_q}},
      .cross_gate = {layer + "cross_attn_gate", {1}},
      .feed_forward_norm = {layer + "post_attention_layernorm.weight", {hidden}},
      .gate = {layer + "mlp.gate_proj.weight", {mlp, hidden}},
      .up = {layer + "mlp.up_proj.weight", {mlp, hidden}},
      .down = {layer + "mlp.down_proj.weight", {hidden, mlp}},
      .norm = {model + "norm.weight", {hidden}},
      .head = {"language_model.lm_head.weight", {vocab, hidden}},
  };
}

}  // namespace

std::string with_layer(const std::string& pattern, int layer) {
  const size_t at = pattern.find("{i}");
  if (at == std::string::npos) return pattern;
  return pattern.substr(0, at) + std::to_string(layer) + pattern.substr(at + 3);
}

TensorNames nvlm_tensor_names(const ModelConfig& config) {
  return {encoder_names(config.vision), projector_names(config), decoder_names(config.decoder, config.cross)};
}

}  // namespace nvlm
