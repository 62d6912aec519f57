#include "model/decoder.h"

#include <algorithm>

namespace nvlm {
namespace {

SelfAttention declare_self_attention(WeightTable& weights, const DecoderNames& names, bool qkv_bias, int layer) {
  SelfAttention block;
  block.layer = layer;
  block.norm = weights.vector({names.attention_norm}, layer);
  block.qkv.w = weights.matrix({names.q.weight, names.k.weight, names.v.weight}, layer);
  if (qkv_bias) block.qkv.bias = weights.vector({names.q.bias, names.k.bias, names.v.bias}, layer);
  block.o.w = weights.matrix({names.o}, layer);
  return block;
}

CrossAttention declare_cross_attention(WeightTable& weights, const DecoderNames& names, int layer, int cross_layer) {
  CrossAttention block;
  block.cross_layer = cross_layer;
  block.norm = weights.vector({names.cross_norm}, layer);
  block.q.w = weights.matrix({names.cross_q}, layer);
  block.kv.w = weights.matrix({names.cross_k, names.cross_v}, layer);
  block.o.w = weights.matrix({names.cross_o}, layer);
  block.gate = weights.vector({names.cross_gate}, layer);
  return block;
}

FeedForward declare_feed_forward(WeightTable& weights, const DecoderNames& names, int layer) {
  FeedForward block;
  block.norm = weights.vector({names.feed_forward_norm}, layer);
  block.gate_up = weights.interleaved(names.gate, names.up, layer);
  block.down.w = weights.matrix({names.down}, layer);
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

DecoderWeights declare_decoder(WeightTable& weights, const DecoderNames& names, const ModelConfig& config,
                               uint64_t& decoder_parameters, uint64_t& cross_parameters) {
  const DecoderConfig& c = config.decoder;
  DecoderWeights w;
  weights.count_into(&decoder_parameters);
  // A tied head is the embedding's matrix: one weight, stored once.
  w.embed = c.tied ? weights.matrix({names.embed}) : weights.table(names.embed);
  int cross_layer = 0;
  for (int layer = 0; layer < c.layers; ++layer) {
    w.blocks.emplace_back(declare_self_attention(weights, names, c.qkv_bias, layer));
    if (std::binary_search(config.cross.layers.begin(), config.cross.layers.end(), layer)) {
      weights.count_into(&cross_parameters);
      w.blocks.emplace_back(declare_cross_attention(weights, names, layer, cross_layer++));
      weights.count_into(&decoder_parameters);
    }
    w.blocks.emplace_back(declare_feed_forward(weights, names, layer));
  }
  w.norm = weights.vector({names.norm});
  w.head = c.tied ? w.embed : weights.matrix({names.head});
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
