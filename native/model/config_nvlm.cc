#include "model/config_nvlm.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "model/config_limits.h"
#include "model/config_parts.h"

namespace nvlm {
namespace {

using nlohmann::json;

// What the published chat() says for D (spec section 5).
constexpr const char* kDefaultSystem = "Answer the questions.";

// Layer i has cross-attention when (i + 1) % every_n_layers == 0, or when it stands in `layers`.
std::vector<int> read_cross_layers(const ConfigSection& section, int decoder_layers) {
  std::vector<int> every;
  const bool has_every = section.find("every_n_layers") != nullptr;
  if (has_every) {
    const int n = section.integer("every_n_layers", 1, decoder_layers);
    for (int i = n - 1; i < decoder_layers; i += n) every.push_back(i);
  }
  const json* list = section.find("layers");
  if (list == nullptr || (list->is_array() && list->empty())) {
    if (!has_every) section.refuse("every_n_layers", "is missing, and there is no layers list in its place");
    return every;
  }
  std::vector<int> layers;
  if (!list->is_array())
    section.refuse("layers", "is " + ConfigSection::shown(*list) + ". It must be a list of layer numbers");
  for (const json& value : *list) {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() >= static_cast<std::uint64_t>(decoder_layers)) {
      section.refuse("layers", "holds " + ConfigSection::shown(value) + ". Layer numbers run from 0 to " +
                                   std::to_string(decoder_layers - 1));
    }
    layers.push_back(value.get<int>());
  }
  std::sort(layers.begin(), layers.end());
  if (std::adjacent_find(layers.begin(), layers.end()) != layers.end())
    section.refuse("layers", "names a layer twice. Name each once");
  if (has_every && layers != every) section.refuse("layers", "contradicts every_n_layers. Keep one of the two");
  return layers;
}

CrossConfig read_cross(const ConfigSection& root, const Family& family, const DecoderConfig& decoder) {
  CrossConfig cross{};
  if (family.cross_attended == TileSet::none) {
    root.must_be_absent("cross_attention_config", "contradicts the architecture " + std::string(family.architecture) +
                                                      ", which has no cross-attention");
    return cross;
  }
  const ConfigSection section = root.section("cross_attention_config");
  cross.layers = read_cross_layers(section, decoder.layers);
  cross.heads = section.integer("num_attention_heads", 1, kMaxHeads);
  cross.kv_heads = read_kv_heads(section, cross.heads);
  cross.head_dim = read_head_dim(section, decoder.hidden, cross.heads);
  section.one_of("gate", {"tanh"}, "tanh");
  return cross;
}

}  // namespace

ModelConfig read_nvlm_config(const ConfigSection& root, const Family& family) {
  ModelConfig config{};
  config.family = family;
  config.vision = read_vision(root);
  config.decoder = read_decoder(root);
  config.cross = read_cross(root, config.family, config.decoder);
  root.must_be_absent("quantization_config",
                      "asks for quantised weights, which are not supported. Use a checkpoint in BF16, F16 or F32");

  // ---- Tiles ----
  config.tile_size = root.integer("force_image_size", 1, kMaxImageSize, config.vision.image_size);
  if (config.tile_size != config.vision.image_size) {
    root.refuse("force_image_size", "is " + std::to_string(config.tile_size) + ", but vision_config.image_size is " +
                                        std::to_string(config.vision.image_size) + ". They must be equal");
  }
  config.dynamic_tiles = root.boolean("dynamic_image_size", true);
  config.use_thumbnail = root.boolean("use_thumbnail", true);
  config.min_tiles = root.integer("min_dynamic_patch", 1, kMaxTiles, 1);
  config.max_tiles = root.integer("max_dynamic_patch", 1, kMaxTiles, 6);
  if (config.min_tiles > config.max_tiles) {
    root.refuse("min_dynamic_patch", "is " + std::to_string(config.min_tiles) + ", above max_dynamic_patch " +
                                         std::to_string(config.max_tiles));
  }

  // ---- Pixel shuffle and projector ----
  if (root.number("downsample_ratio", 0, 1, 0.5) != 0.5) root.refuse("downsample_ratio", "must be 0.5");
  config.downsample = 2;
  if (config.vision.grid() % config.downsample != 0) {
    root.refuse("downsample_ratio",
                "is 0.5, but a tile has " + std::to_string(config.vision.grid()) + " patches a side, an odd number");
  }
  config.shuffle_transposed = root.one_of("ps_version", {"v1", "v2"}, "v2") == "v1";
  config.projector.layers = config.family.projector_layers;
  config.projector.in = config.downsample * config.downsample * config.vision.hidden;
  config.projector.hidden = config.projector.layers == 1 ? config.decoder.hidden : config.decoder.mlp;

  // ---- Prompt ----
  root.one_of("template", {"chatml"}, "chatml");
  config.system_message = kDefaultSystem;
  if (root.has("system_message")) {
    const std::string message = root.string("system_message", "");
    config.system_message = message.empty() ? std::nullopt : std::optional<std::string>(message);
  }
  config.dtype = root.string("torch_dtype", root.string("dtype", ""));
  return config;
}

}  // namespace nvlm
