#include "model/projector.h"

namespace nvlm {
namespace {

constexpr float kProjectorEps = 1e-5f;  // the published code's, whatever the encoder's

}  // namespace

ProjectorWeights declare_projector(WeightTable& weights, const ModelConfig& c) {
  const ProjectorConfig& projector = c.projector;
  const int64_t in = projector.in, hidden = projector.hidden, out = c.decoder.hidden;
  ProjectorWeights w;
  w.norm = weights.vector("mlp1.0.weight", {in});
  w.norm_bias = weights.vector("mlp1.0.bias", {in});
  w.first.w = weights.matrix("mlp1.1.weight", projector.layers == 1 ? out : hidden, in);
  if (projector.layers == 2) w.second.w = weights.matrix("mlp1.3.weight", out, hidden);
  return w;
}

Value record_projector(ProgramBuilder& p, const ProjectorWeights& w, const ModelConfig& c, Value features) {
  const Value x = p.pixel_shuffle_norm(features, w.norm, w.norm_bias, kProjectorEps, c.vision.grid(), c.downsample,
                                       c.shuffle_transposed);
  if (c.projector.layers == 1) return p.linear(x, w.first);
  return p.linear(p.linear_gelu(x, w.first), w.second);
}

}  // namespace nvlm
