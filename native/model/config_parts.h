// What the configs of several families share: an InternViT encoder, a Qwen2 or Llama decoder, attention heads.
#pragma once

#include "model/config.h"
#include "model/config_section.h"

namespace nvlm {

// `vision_config`, and `select_layer` next to it.
VisionConfig read_vision(const ConfigSection& root);
// `llm_config`.
DecoderConfig read_decoder(const ConfigSection& root);

// num_key_value_heads, which must divide `heads`.
int read_kv_heads(const ConfigSection& section, int heads);
// head_dim, or `width` by num_attention_heads where it is absent; a multiple of 8.
int read_head_dim(const ConfigSection& section, int width, int heads);

}  // namespace nvlm
