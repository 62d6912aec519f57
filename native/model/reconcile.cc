#include "model/reconcile.h"

#include <cstdint>
#include <string>

#include "model/checkpoint.h"
#include "model/config.h"
#include "model/config_limits.h"
#include "model/tensor_names.h"
#include "platform/error.h"

namespace nvlm {
namespace {

// Rows of a stored matrix that decides a size of the config.
std::int64_t decisive_rows(const Checkpoint& checkpoint, const std::string& name) {
  const StoredTensor* tensor = checkpoint.find(name);
  if (tensor == nullptr) {
    throw Error("corrupt-checkpoint",
                "The checkpoint lacks the tensor " + name +
                    ". Check that config.json belongs to these weights, and that all files are there.");
  }
  if (tensor->shape.size() != 2) {
    throw Error("corrupt-checkpoint", "The tensor " + name + " in " + tensor->file + " has the shape " +
                                          shape_text(tensor->shape) +
                                          ", but a matrix is needed. Check that config.json belongs to these weights.");
  }
  return tensor->shape[0];
}

int head_dim_of(const Checkpoint& checkpoint, const std::string& name, int heads, const std::string& key) {
  const std::int64_t rows = decisive_rows(checkpoint, name);
  if (rows < heads || rows % heads != 0 || rows / heads > kMaxHeadDim || rows / heads % 8 != 0) {
    throw Error("unsupported-config", "The key " + key + " is " + std::to_string(heads) + ", but the tensor " + name +
                                          " has " + std::to_string(rows) +
                                          " rows. Supported are heads of a multiple of 8, up to " +
                                          std::to_string(kMaxHeadDim) + ".");
  }
  return static_cast<int>(rows / heads);
}

}  // namespace

void reconcile(ModelConfig& config, const Checkpoint& checkpoint) {
  const TensorNames names = config.family.tensor_names(config);  // their shapes follow from what is decided here
  // ---- Vision encoder: dummy heads and the bias ----
  VisionConfig& vision = config.vision;
  const std::string qkv = names.encoder.q.weight.in_layer(0);
  const std::int64_t rows = decisive_rows(checkpoint, qkv);
  const std::int64_t width = rows / 3;
  if (rows % 3 != 0 || width < vision.hidden || width > kMaxWidth || width % vision.head_dim != 0) {
    throw Error(
        "unsupported-config",
        "The key vision_config.hidden_size is " + std::to_string(vision.hidden) + " with heads of " +
            std::to_string(vision.head_dim) + ", but the tensor " + qkv + " has " + std::to_string(rows) +
            " rows, which are not three times as many whole heads. Correct the key, or get the checkpoint again.");
  }
  vision.attention_width = static_cast<int>(width);
  vision.qkv_bias = checkpoint.has(names.encoder.q.bias.in_layer(0));

  // ---- Projector ----
  if (config.projector.layers == 2) {
    const std::string& first = names.projector.first.pattern;
    const std::int64_t hidden = decisive_rows(checkpoint, first);
    if (hidden < 1 || hidden > kMaxWidth) {
      throw Error("unsupported-config", "The tensor " + first + " has " + std::to_string(hidden) +
                                            " rows. Supported are 1 to " + std::to_string(kMaxWidth) + ".");
    }
    config.projector.hidden = static_cast<int>(hidden);
  }

  // ---- Decoder ----
  DecoderConfig& decoder = config.decoder;
  decoder.head_dim =
      head_dim_of(checkpoint, names.decoder.q.weight.in_layer(0), decoder.heads, "llm_config.num_attention_heads");
  decoder.qkv_bias = checkpoint.has(names.decoder.q.bias.in_layer(0));
  decoder.tied = !checkpoint.has(names.decoder.head.pattern);
  if (!config.cross.layers.empty()) {
    config.cross.head_dim = head_dim_of(checkpoint, names.decoder.cross_q.in_layer(config.cross.layers.front()),
                                        config.cross.heads, "cross_attention_config.num_attention_heads");
  }
}

}  // namespace nvlm
