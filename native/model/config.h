// config.json (spec section 2) as one typed description of a model, whatever its family. Nothing else of the native
// code reads a model's JSON.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/family.h"

namespace nvlm {

struct VisionConfig {
  int hidden;         // width of the residual stream, and of the heads that count
  int layers;         // to run: select_layer is applied
  int stored_layers;  // in the checkpoint; those from `layers` on are not needed
  int heads;
  int head_dim;  // hidden / heads
  // Stored rows of q: D of the spec, > hidden when there are dummy heads, which are dropped at load (reconcile; hidden
  // before).
  int attention_width;
  int mlp;
  int patch;
  int image_size;  // side of a tile in pixels
  bool rms_norm;   // else LayerNorm with bias
  bool qk_norm;
  bool qkv_bias;  // reconcile: by the presence of the tensor
  float eps;
  int grid() const { return image_size / patch; }  // patches a side
};

struct DecoderConfig {
  int hidden;
  int layers;
  int heads;
  int kv_heads;
  int head_dim;  // reconcile: by the shape of q_proj
  int mlp;
  int vocab;
  int max_positions;
  float eps;
  float rope_theta;
  bool tied;      // reconcile: no lm_head tensor
  bool qkv_bias;  // reconcile: by the presence of the tensor
};

// Gated cross-attention; without any, `layers` is empty and the rest 0.
struct CrossConfig {
  std::vector<int> layers;  // ascending decoder layers
  int heads;
  int kv_heads;
  int head_dim;  // reconcile: by the shape of cross_attn.q_proj
};

struct ProjectorConfig {
  int layers;  // of the family: 1 or 2
  int in;      // downsample² · vision.hidden
  int hidden;  // width between two layers (reconcile: rows of mlp1.1); decoder.hidden where there is one
};

struct ModelConfig {
  Family family;
  VisionConfig vision;
  ProjectorConfig projector;
  DecoderConfig decoder;
  CrossConfig cross;
  int tile_size;   // force_image_size, pixels
  int downsample;  // side of the pixel-shuffle block: 2
  int min_tiles;
  int max_tiles;  // regular tiles, without the thumbnail
  bool dynamic_tiles;
  bool use_thumbnail;
  bool shuffle_transposed;                    // ps_version v1
  std::optional<std::string> system_message;  // the default is filled in when the key is absent; empty for null or ""
  std::string dtype;  // torch_dtype as written, informative; the tensors have their own. "" when absent
  int tokens_per_tile() const { return (vision.grid() / downsample) * (vision.grid() / downsample); }
};

// Reads folder/config.json. Throws file-not-found, not-a-checkpoint, corrupt-checkpoint, unsupported-architecture or
// unsupported-config; the message names the file and the key.
ModelConfig read_config(const std::string& folder);

// The same from text; `file` is for the messages.
ModelConfig parse_config(std::string_view text, const std::string& file);

}  // namespace nvlm
