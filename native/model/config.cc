#include "model/config.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "model/checkpoint.h"
#include "model/safetensors.h"
#include "model/tensor_names.h"
#include "platform/error.h"
#include "platform/mapped_file.h"

namespace nvlm {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxConfigBytes = std::uint64_t{1} << 20;
// What the published chat() says for D (spec section 5).
constexpr const char* kDefaultSystem = "Answer the questions.";

// Largest sizes taken from a config. With them no product of two sizes leaves 64 bits, and the values of every
// published model are far below.
constexpr int kMaxWidth = 1 << 17;
constexpr int kMaxLayers = 1024;
constexpr int kMaxHeads = 1024;
constexpr int kMaxHeadDim = 1024;
constexpr int kMaxVocab = 1 << 22;
constexpr int kMaxPositions = 1 << 24;
constexpr int kMaxImageSize = 4096;
constexpr int kMaxGrid = 256;
constexpr int kMaxTiles = 64;

// One object of the file, with the path of its keys for messages. null counts as absent, as in Hugging Face's own
// readers.
class Section {
 public:
  Section(const json& object, std::string prefix, const std::string& file)
      : object_(object), prefix_(std::move(prefix)), file_(file) {}

  [[noreturn]] void refuse(const std::string& key, const std::string& what) const {
    throw Error("unsupported-config", "The key " + prefix_ + key + " in " + file_ + " " + what + ".");
  }

  const json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  // Present, be it null.
  bool has(const char* key) const { return object_.contains(key); }

  Section section(const char* key) const {
    const json* value = find(key);
    if (value == nullptr) refuse(key, "is missing. It must be an object");
    if (!value->is_object()) refuse(key, "must be an object");
    return Section(*value, prefix_ + key + ".", file_);
  }

  int integer(const char* key, int least, int most, std::optional<int> fallback = std::nullopt) const {
    const std::string range =
        "It must be a whole number between " + std::to_string(least) + " and " + std::to_string(most);
    const json* value = find(key);
    if (value == nullptr) {
      if (fallback) return *fallback;
      refuse(key, "is missing. " + range);
    }
    if (!value->is_number_integer()) refuse(key, "is " + shown(*value) + ". " + range);
    // Unsigned values above 2^63 would turn negative as signed ones.
    if (value->is_number_unsigned() && value->get<std::uint64_t>() > static_cast<std::uint64_t>(most))
      refuse(key, "is " + shown(*value) + ". " + range);
    const auto number = value->get<std::int64_t>();
    if (number < least || number > most) refuse(key, "is " + shown(*value) + ". " + range);
    return static_cast<int>(number);
  }

  // A finite number with least < value <= most.
  double number(const char* key, double least, double most, std::optional<double> fallback = std::nullopt) const {
    char range[80];
    std::snprintf(range, sizeof(range), "It must be a number above %g and at most %g", least, most);
    const json* value = find(key);
    if (value == nullptr) {
      if (fallback) return *fallback;
      refuse(key, std::string("is missing. ") + range);
    }
    if (!value->is_number()) refuse(key, "is " + shown(*value) + ". " + range);
    const double result = value->get<double>();
    if (!(result > least && result <= most)) refuse(key, "is " + shown(*value) + ". " + range);
    return result;
  }

  bool boolean(const char* key, bool fallback) const {
    const json* value = find(key);
    if (value == nullptr) return fallback;
    if (!value->is_boolean()) refuse(key, "is " + shown(*value) + ". It must be true or false");
    return value->get<bool>();
  }

  std::string string(const char* key, const std::string& fallback) const {
    const json* value = find(key);
    if (value == nullptr) return fallback;
    if (!value->is_string()) refuse(key, "is " + shown(*value) + ". It must be a string");
    return value->get<std::string>();
  }

  std::string one_of(const char* key, const std::vector<std::string>& allowed, const std::string& fallback) const {
    const std::string value = string(key, fallback);
    if (std::find(allowed.begin(), allowed.end(), value) != allowed.end()) return value;
    std::string names;
    for (const std::string& name : allowed) names += (names.empty() ? "'" : ", '") + name + "'";
    refuse(key, "is '" + printable(value) + "'. Supported: " + names);
  }

  // A key that would change what the model computes, in a way that is not built.
  void must_be_absent(const char* key, const std::string& why) const {
    if (find(key) != nullptr) refuse(key, why);
  }

  // A value as it may stand in a message: containers are not printed, they may be deep.
  static std::string shown(const json& value) {
    if (value.is_string()) return "the string '" + printable(value.get<std::string>()) + "'";
    if (value.is_object()) return "an object";
    if (value.is_array()) return "a list";
    return value.dump();
  }

 private:
  const json& object_;
  std::string prefix_;
  const std::string& file_;
};

Family read_family(const Section& root, const std::string& file) {
  const std::string supported = "Supported are " + supported_architectures() + ".";
  const json* names = root.find("architectures");
  if (names == nullptr || !names->is_array() || names->size() != 1 || !names->front().is_string()) {
    throw Error("unsupported-architecture",
                "The key architectures in " + file + " is not a list of one name. " + supported);
  }
  const std::string name = names->front().get<std::string>();
  if (const Family* family = find_family(name)) return *family;
  throw Error("unsupported-architecture",
              "The architecture '" + printable(name) + "' in " + file + " is not supported. " + supported);
}

int divided_heads(const Section& section, int width, int heads) {
  if (width % heads != 0) {
    section.refuse("num_attention_heads",
                   "is " + std::to_string(heads) + ", which does not divide hidden_size " + std::to_string(width));
  }
  return width / heads;
}

void check_head_dim(const Section& section, const char* key, int head_dim) {
  if (head_dim < 8 || head_dim > kMaxHeadDim || head_dim % 8 != 0) {
    section.refuse(key, "gives heads of " + std::to_string(head_dim) + ". Supported: multiples of 8 up to " +
                            std::to_string(kMaxHeadDim));
  }
}

int read_kv_heads(const Section& section, int heads) {
  const int kv_heads = section.integer("num_key_value_heads", 1, kMaxHeads);
  if (heads % kv_heads != 0) {
    section.refuse("num_key_value_heads", "is " + std::to_string(kv_heads) +
                                              ", which does not divide num_attention_heads " + std::to_string(heads));
  }
  return kv_heads;
}

VisionConfig read_vision(const Section& root) {
  const Section section = root.section("vision_config");
  VisionConfig vision{};
  vision.hidden = section.integer("hidden_size", 8, kMaxWidth);
  vision.heads = section.integer("num_attention_heads", 1, kMaxHeads);
  vision.head_dim = divided_heads(section, vision.hidden, vision.heads);
  check_head_dim(section, "num_attention_heads", vision.head_dim);
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

DecoderConfig read_decoder(const Section& root) {
  const Section section = root.section("llm_config");
  if (const json* names = section.find("architectures")) {
    const bool one = names->is_array() && names->size() == 1 && names->front().is_string();
    const std::string name = one ? names->front().get<std::string>() : "";
    if (name != "Qwen2ForCausalLM" && name != "LlamaForCausalLM") {
      section.refuse("architectures", "is " + (one ? "'" + printable(name) + "'" : "not a list of one name") +
                                          ". Supported: 'Qwen2ForCausalLM', 'LlamaForCausalLM'");
    }
  }
  DecoderConfig decoder{};
  decoder.hidden = section.integer("hidden_size", 8, kMaxWidth);
  decoder.heads = section.integer("num_attention_heads", 1, kMaxHeads);
  decoder.kv_heads = read_kv_heads(section, decoder.heads);
  decoder.head_dim = section.find("head_dim") ? section.integer("head_dim", 1, kMaxHeadDim)
                                              : divided_heads(section, decoder.hidden, decoder.heads);
  check_head_dim(section, section.find("head_dim") ? "head_dim" : "num_attention_heads", decoder.head_dim);
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

// Layer i has cross-attention when (i + 1) % every_n_layers == 0, or when it stands in `layers`.
std::vector<int> read_cross_layers(const Section& section, int decoder_layers) {
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
    section.refuse("layers", "is " + Section::shown(*list) + ". It must be a list of layer numbers");
  for (const json& value : *list) {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() >= static_cast<std::uint64_t>(decoder_layers)) {
      section.refuse("layers", "holds " + Section::shown(value) + ". Layer numbers run from 0 to " +
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

CrossConfig read_cross(const Section& root, const Family& family, const DecoderConfig& decoder) {
  CrossConfig cross{};
  if (family.cross_attended == TileSet::none) {
    root.must_be_absent("cross_attention_config", "contradicts the architecture " + std::string(family.architecture) +
                                                      ", which has no cross-attention");
    return cross;
  }
  const Section section = root.section("cross_attention_config");
  cross.layers = read_cross_layers(section, decoder.layers);
  cross.heads = section.integer("num_attention_heads", 1, kMaxHeads);
  cross.kv_heads = read_kv_heads(section, cross.heads);
  cross.head_dim = section.find("head_dim") ? section.integer("head_dim", 1, kMaxHeadDim)
                                            : divided_heads(section, decoder.hidden, cross.heads);
  check_head_dim(section, section.find("head_dim") ? "head_dim" : "num_attention_heads", cross.head_dim);
  section.one_of("gate", {"tanh"}, "tanh");
  return cross;
}

ModelConfig read_model(const Section& root, const std::string& file) {
  ModelConfig config{};
  config.family = read_family(root, file);
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

ModelConfig parse_config(std::string_view text, const std::string& file) {
  const json root = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded() || !root.is_object()) {
    throw Error("corrupt-checkpoint", "The file " + file + " is not a JSON object. Download or copy it again.");
  }
  return read_model(Section(root, "", file), file);
}

ModelConfig read_config(const std::string& folder) {
  std::error_code ignored;
  if (!std::filesystem::exists(folder, ignored)) {
    throw Error("file-not-found", "There is no folder " + folder + ". Check the path.");
  }
  if (!std::filesystem::is_directory(folder, ignored)) {
    throw Error("not-a-checkpoint",
                folder + " is not a folder. Give the folder that holds config.json and the safetensors files.");
  }
  const std::string file = folder + "/config.json";
  const auto bytes = MappedFile::open(file);
  if (!bytes) {
    throw Error("not-a-checkpoint", "The folder " + folder +
                                        " has no config.json. Give the folder of a checkpoint in Hugging Face layout.");
  }
  if (bytes->size() > kMaxConfigBytes) {
    throw Error("corrupt-checkpoint", "The file " + file + " has " + std::to_string(bytes->size()) +
                                          " bytes, more than a config needs. Download or copy it again.");
  }
  return parse_config({reinterpret_cast<const char*>(bytes->data()), static_cast<std::size_t>(bytes->size())}, file);
}

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
