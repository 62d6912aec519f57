// The decoder (spec section 6): a flat list of residual blocks. D, X and H differ in which layers hold a
// cross-attention block, and in nothing else here.
#pragma once

#include <variant>
#include <vector>

#include "model/config.h"
#include "model/program.h"
#include "model/weights.h"

namespace nvlm {

struct SelfAttention {
  int layer = 0;
  WeightId norm = kNoWeight;  // [hidden]
  Linear qkv;                 // [(heads + 2 * kv_heads) * head_dim, hidden]: q, k, v
  Linear o;                   // [hidden, heads * head_dim]
};

struct CrossAttention {
  int cross_layer = 0;        // n-th of them: its layer in the cross cache
  WeightId norm = kNoWeight;  // [hidden]
  Linear q;                   // [heads * head_dim, hidden]
  Linear kv;                  // [2 * kv_heads * head_dim, hidden]: k, v
  Linear o;                   // [hidden, heads * head_dim]
  WeightId gate = kNoWeight;  // [1]
};

struct FeedForward {
  WeightId norm = kNoWeight;     // [hidden]
  WeightId gate_up = kNoWeight;  // [2 * mlp, hidden]: gate and up, row by row in turn
  Linear down;                   // [hidden, mlp]
};

using Block = std::variant<SelfAttention, CrossAttention, FeedForward>;

struct DecoderWeights {
  WeightId embed = kNoWeight;  // [vocab, hidden]
  std::vector<Block> blocks;
  WeightId norm = kNoWeight;  // [hidden]
  WeightId head = kNoWeight;  // [vocab, hidden]; the same as embed where it is tied
};

// decoder_parameters, cross_parameters: counters that the declared tensors are added to.
DecoderWeights declare_decoder(WeightTable& weights, const DecoderNames& names, const ModelConfig& config,
                               uint64_t& decoder_parameters, uint64_t& cross_parameters);

// Logits [outs, vocab] of the batch's out rows, sampled. Without `cross` no cross-attention block is recorded: exactly
// the language model.
Value record_decoder(ProgramBuilder& p, const DecoderWeights& w, const ModelConfig& config, bool cross);

// Cross tokens [rows] -> keys and values of every cross-attention layer, in the cross cache.
void record_cross_projection(ProgramBuilder& p, const DecoderWeights& w, const ModelConfig& config);

}  // namespace nvlm
