// InternViT (spec section 4): u8 tiles -> patch features. Batched over tiles, which never see each other.
#pragma once

#include <vector>

#include "model/config.h"
#include "model/program.h"
#include "model/weights.h"

namespace nvlm {

struct EncoderLayer {
  Weight norm1, norm1_bias, norm2, norm2_bias;  // biases for LayerNorm alone
  Linear qkv;                                   // [3*hidden, hidden]: all q, all k, all v, without the dummy heads
  Weight q_norm, k_norm;                        // kNoWeight: no q/k norm
  Linear proj, fc1, fc2;
  Weight ls1, ls2;  // LayerScale [hidden]
};

struct EncoderWeights {
  Linear patch;
  Weight class_token, positions;
  std::vector<EncoderLayer> layers;
};

EncoderWeights declare_encoder(WeightTable& weights, const VisionConfig& config);

// [tiles * (patches + 1), hidden], class token first; no final norm.
Value record_encoder(ProgramBuilder& p, const EncoderWeights& w, const VisionConfig& config);

}  // namespace nvlm
