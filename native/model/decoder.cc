#include "model/decoder.h"

#include <algorithm>

namespace nvlm {
namespace {

SelfAttention declare_self_attention(WeightTable& weights, const DecoderConfig& c, const std::string& prefix,
                                     int layer) {
  const int64_t q = static_cast<int64_t>(c.heads) * c.head_dim, kv = static_cast<int64_t>(c.kv_heads) * c.head_dim;
  SelfAttention block;
  block.layer = layer;
  block.norm = weights.vector(prefix + "input_layernorm.weight", {c.hidden});
  const std::string attn = prefix + "self_attn.";
  block.qkv.w =
      weights.stacked({attn + "q_proj.weight", attn + "k_proj.weight", attn + "v_proj.weight"}, {q, kv, kv}, c.hidden);
  if (c.qkv_bias)
    block.qkv.bias = weights.vectors({attn + "q_proj.bias", attn + "k_proj.bias", attn + "v_proj.bias"}, {q, kv, kv});
  block.o.w = weights.matrix(attn + "o_proj.weight", c.hidden, q);
  return block;
}

CrossAttention declare_cross_attention(WeightTable& weights, const ModelConfig& config, const std::string& prefix,
                                       int cross_layer) {
  const CrossConfig& c = config.cross;
  const int64_t hidden = config.decoder.hidden, q = static_cast<int64_t>(c.heads) * c.head_dim,
                kv = static_cast<int64_t>(c.kv_heads) * c.head_dim;
  CrossAttention block;
  block.cross_layer = cross_layer;
  block.norm = weights.vector(prefix + "cross_attn_norm.weight", {hidden});
  const std::string attn = prefix + "cross_attn.";
  block.q.w = weights.matrix(attn + "q_proj.weight", q, hidden);
  block.kv.w = weights.stacked({attn + "k_proj.weight", attn + "v_proj.weight"}, {kv, kv}, hidden);
  block.o.w = weights.matrix(attn + "o_proj.weight", hidden, q);
  block.gate = weights.vector(prefix + "cross_attn_gate", {1});
  return block;
}

FeedForward declare_feed_forward(WeightTable& weights, const DecoderConfig& c, const std::string& prefix) {
  FeedForward block;
  block.norm = weights.vector(prefix + "post_attention_layernorm.weight", {c.hidden});
  block.gate_up = weights.interleaved(prefix + "mlp.gate_proj.weight", prefix + "mlp.up_proj.weight", c.mlp, c.hidden);
  block.down.w = weights.matrix(prefix + "mlp.down_proj.weight", c.hidden, c.mlp);
  return block;
}

// Appends each block's ops: x is the residual stream [rows, hidden].
struct BlockRecorder {
  ProgramBuilder& p;
  const ModelConfig& config;
  Value x;

  // x += o(self_attention(rope(q), rope(k), v))
  void operator()(const SelfAttention& w) const {
    const DecoderConfig& c = config.decoder;
    const Value qkv = p.linear(p.rms_norm(x, w.norm, c.eps), w.qkv);
    p.rope_kv_write(qkv, c.heads, c.kv_heads, c.head_dim, c.rope_theta, w.layer);
    p.linear_residual(x, p.attention(qkv, NVLM_KEYS_SELF, c.heads, c.kv_heads, c.head_dim, w.layer), w.o);
  }

  // x += tanh(gate) · o(cross_attention(norm(x), image tokens)); no rotary positions
  void operator()(const CrossAttention& w) const {
    const CrossConfig& c = config.cross;
    const Value q = p.linear(p.rms_norm(x, w.norm, config.decoder.eps), w.q);
    p.linear_gated_residual(x, p.attention(q, NVLM_KEYS_CROSS, c.heads, c.kv_heads, c.head_dim, w.cross_layer), w.o,
                            w.gate);
  }

  // x += down(silu(gate(h)) · up(h))
  void operator()(const FeedForward& w) const {
    p.linear_residual(x, p.linear_swiglu(p.rms_norm(x, w.norm, config.decoder.eps), w.gate_up), w.down);
  }
};

}  // namespace

DecoderWeights declare_decoder(WeightTable& weights, const ModelConfig& config, uint64_t& decoder_parameters,
                               uint64_t& cross_parameters) {
  const DecoderConfig& c = config.decoder;
  const std::string model = "language_model.model.", embed = model + "embed_tokens.weight";
  DecoderWeights w;
  weights.count_into(&decoder_parameters);
  // A tied head is the embedding's matrix: one weight, stored once.
  w.embed = c.tied ? weights.matrix(embed, c.vocab, c.hidden) : weights.table(embed, c.vocab, c.hidden);
  int cross_layer = 0;
  for (int layer = 0; layer < c.layers; ++layer) {
    const std::string prefix = model + "layers." + std::to_string(layer) + ".";
    w.blocks.emplace_back(declare_self_attention(weights, c, prefix, layer));
    if (std::binary_search(config.cross.layers.begin(), config.cross.layers.end(), layer)) {
      weights.count_into(&cross_parameters);
      w.blocks.emplace_back(declare_cross_attention(weights, config, prefix, cross_layer++));
      weights.count_into(&decoder_parameters);
    }
    w.blocks.emplace_back(declare_feed_forward(weights, c, prefix));
  }
  w.norm = weights.vector(model + "norm.weight", {c.hidden});
  w.head = c.tied ? w.embed : weights.matrix("language_model.lm_head.weight", c.vocab, c.hidden);
  return w;
}

Value record_decoder(ProgramBuilder& p, const DecoderWeights& w, const ModelConfig& config, bool cross) {
  const Value x = p.embed(w.embed);
  for (const Block& block : w.blocks) {
    if (!cross && std::holds_alternative<CrossAttention>(block)) continue;
    std::visit(BlockRecorder{p, config, x}, block);
  }
  const Value logits = p.logits(p.rms_norm(p.gather_rows(x), w.norm, config.decoder.eps), w.head);
  p.sample(logits);
  return logits;
}

void record_cross_projection(ProgramBuilder& p, const DecoderWeights& w, const ModelConfig& config) {
  const Value tokens = p.embed(w.embed);
  for (const Block& block : w.blocks) {
    const auto* cross = std::get_if<CrossAttention>(&block);
    if (cross)
      p.kv_write(p.linear(tokens, cross->kv), config.cross.kv_heads, config.cross.head_dim, cross->cross_layer);
  }
}

}  // namespace nvlm
