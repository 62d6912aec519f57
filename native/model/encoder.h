// InternViT (spec section 4): u8 tiles -> patch features. Batched over tiles, which never see each other.
#pragma once

#include <vector>

#include "model/config.h"
#include "model/program.h"
#include "model/weights.h"

namespace nvlm {

struct EncoderLayer {
  WeightId norm1 = kNoWeight, norm1_bias = kNoWeight;  // [hidden]; a bias for LayerNorm alone
  Linear qkv;                                          // [3 * hidden, hidden]: q, k, v without the dummy heads
  WeightId q_norm = kNoWeight, k_norm = kNoWeight;     // [hidden], or none
  Linear proj;                                         // [hidden, hidden]
  WeightId ls1 = kNoWeight;                            // LayerScale [hidden]
  WeightId norm2 = kNoWeight, norm2_bias = kNoWeight;  // as norm1
  Linear fc1;                                          // [mlp, hidden]
  Linear fc2;                                          // [hidden, mlp]
  WeightId ls2 = kNoWeight;                            // [hidden]
};

struct EncoderWeights {
  Linear patch;                      // [hidden, 3 * patch * patch]
  WeightId class_token = kNoWeight;  // [hidden]
  WeightId positions = kNoWeight;    // [patches + 1, hidden], class token first
  std::vector<EncoderLayer> layers;
};

EncoderWeights declare_encoder(WeightTable& weights, const EncoderNames& names, const VisionConfig& config);

// [tiles * (patches + 1), hidden], class token first; no final norm.
Value record_encoder(ProgramBuilder& p, const EncoderWeights& w, const VisionConfig& config);

}  // namespace nvlm
