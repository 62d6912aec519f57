// Pixel shuffle and projector (spec section 4): patch features -> image tokens of the decoder's width.
#pragma once

#include "model/config.h"
#include "model/program.h"
#include "model/weights.h"

namespace nvlm {

struct ProjectorWeights {
  WeightId norm = kNoWeight, norm_bias = kNoWeight;  // [in]
  Linear first;                                      // [projector hidden, in], or [hidden, in] where it is the only one
  Linear second;                                     // [hidden, projector hidden], or none
};

ProjectorWeights declare_projector(WeightTable& weights, const ProjectorNames& names, const ProjectorConfig& config);

// features [tiles * (patches + 1), vision hidden] -> image tokens [tiles * tokens_per_tile, decoder hidden]
Value record_projector(ProgramBuilder& p, const ProjectorWeights& w, const ModelConfig& config, Value features);

}  // namespace nvlm
