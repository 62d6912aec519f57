#include "model/config_parts.h"

#include "model/config_limits.h"
#include "model/printable.h"

namespace nvlm {
namespace {

void check_head_dim(const ConfigSection& section, const char* key, int head_dim) {
  if (head_dim < 8 || head_dim > kMaxHeadDim || head_dim % 8 != 0) {
    section.refuse(key, "gives heads of " + std::to_string(head_dim) + ". Supported: multiples of 8 up to " +
                            std::to_string(kMaxHeadDim));
  }
}

int divided_width(const ConfigSection& section, int width, int heads) {
  if (width % heads != 0) {
    section.refuse("num_attention_heads",
                   "is " + std::to_string(heads) + ", which does not divide hidden_size " + std::to_string(width));
  }
  check_head_dim(section, "num_attention_heads", width / heads);
  return width / heads;
}

}  // namespace

VisionConfig read_vision(const ConfigSection& root) {
  const ConfigSection section = root.section("vision_config");
  VisionConfig vision{};
  vision.hidden = section.integer("hidden_size", 8, kMaxWidth);
  vision.heads = section.integer("num_attention_heads", 1, kMaxHeads);
  vision.head_dim = divided_width(section, vision.hidden, vision.heads);
  vision.attention_width = vision.hidden;
  vision.mlp = section.integer("intermediate_size", 1, kMaxWidth);
  vision.patch = section.integer("patch_size", 1, 256);
  vision.image_size = section.integer("image_size", 1, kMaxImageSize);
  vision.rms_norm = section.one_of("norm_type", {"rms_norm", "layer_norm"}, "rms_norm") == "rms_norm";
  vision.qk_norm = section.boolean("qk_normalization", false);
  vision.qkv_bias = section.boolean("qkv_bias", false);
  vision.eps = static_cast<float>(section.number("layer_norm_eps", 0, 1));
  section.one_of("hidden_act", {"gelu"}, "gelu");
  section.integer("num_channels", 3, 3, 3);

  if (vision.image_size % vision.patch != 0) {
    section.refuse("patch_size", "is " + std::to_string(vision.patch) + ", which does not divide image_size " +
                                     std::to_string(vision.image_size));
  }
  if (vision.grid() > kMaxGrid) {
    section.refuse("patch_size", "is " + std::to_string(vision.patch) + ", which cuts image_size " +
                                     std::to_string(vision.image_size) + " into more than " + std::to_string(kMaxGrid) +
                                     " patches a side");
  }

  // select_layer: k >= 0 is the state after k layers, -1 after all, -2 after all but one.
  vision.stored_layers = section.integer("num_hidden_layers", 1, kMaxLayers);
  const int select = root.integer("select_layer", -vision.stored_layers - 1, vision.stored_layers, -1);
  vision.layers = select < 0 ? vision.stored_layers + select + 1 : select;
  return vision;
}

DecoderConfig read_decoder(const ConfigSection& root) {
  const ConfigSection section = root.section("llm_config");
  if (section.find("architectures")) {
    const std::optional<std::string> name = section.only_name("architectures");
    if (name != "Qwen2ForCausalLM" && name != "LlamaForCausalLM") {
      section.refuse("architectures", "is " + (name ? "'" + printable(*name) + "'" : "not a list of one name") +
                                          ". Supported: 'Qwen2ForCausalLM', 'LlamaForCausalLM'");
    }
  }
  DecoderConfig decoder{};
  decoder.hidden = section.integer("hidden_size", 8, kMaxWidth);
  decoder.heads = section.integer("num_attention_heads", 1, kMaxHeads);
  decoder.kv_heads = read_kv_heads(section, decoder.heads);
  decoder.head_dim = read_head_dim(section, decoder.hidden, decoder.heads);
  decoder.layers = section.integer("num_hidden_layers", 1, kMaxLayers);
  decoder.mlp = section.integer("intermediate_size", 1, kMaxWidth);
  decoder.vocab = section.integer("vocab_size", 1, kMaxVocab);
  decoder.max_positions = section.integer("max_position_embeddings", 1, kMaxPositions);
  decoder.eps = static_cast<float>(section.number("rms_norm_eps", 0, 1));
  decoder.rope_theta = static_cast<float>(section.number("rope_theta", 1, 1e12, 1e6));
  decoder.tied = section.boolean("tie_word_embeddings", false);
  decoder.qkv_bias = section.boolean("attention_bias", false);
  section.one_of("hidden_act", {"silu"}, "silu");
  section.must_be_absent("rope_scaling", "asks for scaled rotary positions, which are not supported");
  section.must_be_absent("rope_parameters", "is not supported. State rope_theta instead");
  if (section.boolean("use_sliding_window", false))
    section.refuse("use_sliding_window", "is true, but sliding windows are not supported");
  if (section.number("partial_rotary_factor", 0, 1, 1) != 1) section.refuse("partial_rotary_factor", "must be 1");
  return decoder;
}

int read_kv_heads(const ConfigSection& section, int heads) {
  const int kv_heads = section.integer("num_key_value_heads", 1, kMaxHeads);
  if (heads % kv_heads != 0) {
    section.refuse("num_key_value_heads", "is " + std::to_string(kv_heads) +
                                              ", which does not divide num_attention_heads " + std::to_string(heads));
  }
  return kv_heads;
}

int read_head_dim(const ConfigSection& section, int width, int heads) {
  if (!section.find("head_dim")) return divided_width(section, width, heads);
  const int head_dim = section.integer("head_dim", 1, kMaxHeadDim);
  check_head_dim(section, "head_dim", head_dim);
  return head_dim;
}

}  // namespace nvlm
