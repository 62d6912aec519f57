#include "model/projector.h"

namespace nvlm {
namespace {

constexpr float kProjectorEps = 1e-5f;  // the published code's, whatever the encoder's

}  // namespace

ProjectorWeights declare_projector(WeightTable& weights, const ProjectorNames& names, const ProjectorConfig& c) {
  ProjectorWeights w;
  w.norm = weights.vector({names.norm.weight});
  w.norm_bias = weights.vector({names.norm.bias});
  w.first.w = weights.matrix({names.first});
  if (c.layers == 2) w.second.w = weights.matrix({names.second});
  return w;
}

Value record_projector(ProgramBuilder& p, const ProjectorWeights& w, const ModelConfig& c, Value features) {
  const Value x = p.pixel_shuffle_norm(features, w.norm, w.norm_bias, kProjectorEps, c.vision.grid(), c.downsample,
                                       c.shuffle_transposed);
  if (c.projector.layers == 1) return p.linear(x, w.first);
  return p.linear(p.linear_gelu(x, w.first), w.second);
}

}  // namespace nvlm
