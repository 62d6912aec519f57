// Pixel shuffle and projector (spec section 4): patch features -> image tokens of the decoder's width.
#pragma once

#include "model/config.h"
#include "model/program.h"
#include "model/weights.h"

namespace nvlm {

struct ProjectorWeights {
  Weight norm, norm_bias;
  Linear first;   // X: straight to the decoder's width
  Linear second;  // D and H
};

ProjectorWeights declare_projector(WeightTable& weights, const ModelConfig& config);

// [tiles * (patches + 1), vision hidden] -> [tiles * tokens_per_tile, decoder hidden]
Value record_projector(ProgramBuilder& p, const ProjectorWeights& w, const ModelConfig& config, Value features);

}  // namespace nvlm
