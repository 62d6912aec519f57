#include "model/blueprint.h"

#include <algorithm>
#include <string>

#include "model/decoder.h"
#include "model/device.h"
#include "model/encoder.h"
#include "model/projector.h"
#include "model/reconcile.h"

namespace nvlm {
namespace {

// Rows of one encoder run: a tile of 1025 rows fills the kernels, small tiles are batched up to about as many.
constexpr int kEncodeRows = 1025;

ModelConfig reconciled(const std::string& folder, const Checkpoint& checkpoint) {
  ModelConfig config = read_config(folder);
  reconcile(config, checkpoint);
  return config;
}

}  // namespace

Blueprint::Blueprint(const LoadOptions& wanted, const Device& device)
    : checkpoint(Checkpoint::open(wanted.folder)),
      config(reconciled(wanted.folder, checkpoint)),
      options(resolve(wanted, config, device.capabilities().step_rows)),
      weights(checkpoint),
      activations(device.capabilities().activations),
      self_kv(plan_self_cache(config, options, activations)),
      cross_kv(plan_cross_cache(config, options, activations)) {
  // ---- Weights ----
  const TensorNames names = config.family.tensor_names(config);
  weights.count_into(&parameters.encoder);
  const EncoderWeights encoder = declare_encoder(weights, names.encoder, config.vision);
  for (int i = config.vision.layers; i < config.vision.stored_layers; ++i) {
    checkpoint.ignore(with_layer(names.encoder.layer, i));
  }
  weights.count_into(&parameters.projector);
  const ProjectorWeights projector = declare_projector(weights, names.projector, config.projector);
  const DecoderWeights decoder =
      declare_decoder(weights, names.decoder, config, parameters.decoder, parameters.cross_attention);
  checkpoint.expect_all_used();

  // ---- Programs ----
  const int tile_rows = config.vision.grid() * config.vision.grid() + 1;
  ProgramBuilder encoding("encode", weights, activations);
  const Value tokens = record_projector(encoding, projector, config, record_encoder(encoding, encoder, config.vision));
  encode = encoding.finish(std::max(1, kEncodeRows / tile_rows), 0, 0, tokens);

  const auto record_decode = [&](const char* name, bool cross) {
    ProgramBuilder decoding(name, weights, activations);
    const Value logits = record_decoder(decoding, decoder, config, cross);
    Program program = decoding.finish(0, options.step_rows, options.max_sequences, logits);
    // A batch names each page of its sequences once; an image may be in several prompts, and twice in one.
    program.max_self_pages = self_kv.pages;
    program.max_cross_pages = static_cast<int64_t>(options.max_sequences) * options.max_images * cross_kv.pages;
    program.max_history = static_cast<int64_t>(options.max_sequences) * options.context_length;
    return program;
  };
  decode_text = record_decode("decode", false);
  if (config.cross.layers.empty()) return;
  decode_cross = record_decode("decode with cross-attention", true);
  ProgramBuilder projecting("cross", weights, activations);
  record_cross_projection(projecting, decoder, config);
  cross_projection = projecting.finish(0, options.step_rows, 0);
}

uint64_t Blueprint::arena_bytes() const {
  uint64_t most = 0;
  for (const Program* program : programs()) most = std::max(most, program->arena_bytes);
  return most;
}

uint64_t Blueprint::image_bytes(int tiles) const {
  return static_cast<uint64_t>(tiles) * static_cast<uint64_t>(config.tokens_per_tile()) * token_bytes();
}

uint64_t Blueprint::token_bytes() const {
  return static_cast<uint64_t>(config.decoder.hidden) * nvlm_dtype_bytes(activations);
}

}  // namespace nvlm
