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
  int layer;
  Weight norm;
  Linear qkv, o;
};

struct CrossAttention {
  int cross_layer;  // n-th of them: its layer in the cross cache
  Weight norm;
  Linear q, kv, o;
  Weight gate;
};

struct FeedForward {
  Weight norm;
  Weight gate_up;
  Linear down;
};

using Block = std::variant<SelfAttention, CrossAttention, FeedForward>;

struct DecoderWeights {
  Weight embed;
  std::vector<Block> blocks;
  Weight norm;
  Weight head;
};

// decoder_parameters, cross_parameters: counters that the declared tensors are added to.
DecoderWeights declare_decoder(WeightTable& weights, const ModelConfig& config, uint64_t& decoder_parameters,
                               uint64_t& cross_parameters);

// Logits [outs, vocab] of the batch's out rows, sampled. Without `cross` no cross-attention block is recorded: exactly
// the language model.
Value record_decoder(ProgramBuilder& p, const DecoderWeights& w, const ModelConfig& config, bool cross);

// Cross tokens [rows] -> keys and values of every cross-attention layer, in the cross cache.
void record_cross_projection(ProgramBuilder& p, const DecoderWeights& w, const ModelConfig& config);

}  // namespace nvlm
