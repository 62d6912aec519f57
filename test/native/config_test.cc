// config.json to the typed description: the golden cases and bundled models as they are, NVIDIA's own keys, and every
// value that must be refused by name.
#include "model/config.h"

#include <nlohmann/json.hpp>

#include "model/checkpoint.h"
#include "model/reconcile.h"
#include "support/check.h"
#include "support/families.h"
#include "support/golden.h"
#include "support/scratch_folder.h"

using namespace nvlm;
using namespace nvlm::test;
using nlohmann::json;

namespace {

json golden_config(const std::string& name) {
  const auto text = read_file(load_golden(name).folder + "/config.json");
  return json::parse(text.begin(), text.end());
}

ModelConfig parsed(const json& config) { return parse_config(config.dump(), "config.json"); }

// The config of NVLM-D-72B as published, as far as it is read.
json published_72b() {
  return json::parse(R"({
    "architectures": ["NVLM_D"], "model_type": "NVLM_D", "auto_map": {"AutoConfig": "configuration_nvlm_d.NVLM_D_Config"},
    "force_image_size": 448, "downsample_ratio": 0.5, "dynamic_image_size": true, "use_thumbnail": true, "min_dynamic_patch": 1,
    "max_dynamic_patch": 6, "ps_version": "v2", "select_layer": -1, "template": "chatml", "torch_dtype": "bfloat16", "pad2square": false,
    "llm_config": {"architectures": ["Qwen2ForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 8192, "intermediate_size": 29568,
      "max_position_embeddings": 32768, "num_attention_heads": 64, "num_hidden_layers": 80, "num_key_value_heads": 8, "rms_norm_eps": 1e-06,
      "rope_theta": 1000000.0, "rope_scaling": null, "sliding_window": 131072, "use_sliding_window": false, "tie_word_embeddings": false, "vocab_size": 152064},
    "vision_config": {"architectures": ["InternVisionModel"], "hidden_act": "gelu", "hidden_size": 3200, "image_size": 448, "intermediate_size": 12800,
      "layer_norm_eps": 1e-06, "norm_type": "rms_norm", "num_attention_heads": 25, "num_channels": 3, "num_hidden_layers": 45, "patch_size": 14,
      "qk_normalization": true, "qkv_bias": false}})");
}

void published_model_is_read() {
  const ModelConfig c = parsed(published_72b());
  check(c.family == kNvlmD, "family");
  test::equal(c.tokens_per_tile(), 256, "tokens of a tile");
  test::equal(c.vision.head_dim, 128, "vision head_dim");
  test::equal(c.vision.grid(), 32, "patches a side");
  test::equal(c.vision.layers, 45, "vision layers");
  test::equal(c.projector.in, 12800, "projector input");
  test::equal(c.projector.layers, 2, "projector layers");
  test::equal(c.projector.hidden, 29568, "projector width");
  test::equal(c.decoder.head_dim, 128, "decoder head_dim");
  test::equal(c.decoder.rope_theta, 1e6f, "rope_theta");
  test::equal(c.dtype, std::string("bfloat16"), "dtype");
  test::equal(c.system_message.value_or("none"), std::string("Answer the questions."), "default system message");
  test::equal(c.cross.layers.size(), std::size_t{0}, "cross layers of D");
}

void golden_cases_are_read() {
  for (const std::string& name : golden_names()) {
    const std::string folder = load_golden(name).folder;
    ModelConfig c = read_config(folder);
    reconcile(c, Checkpoint::open(folder));
    test::equal(c.tile_size, 112, name + " tile size");
    test::equal(c.tokens_per_tile(), 16, name + " tokens of a tile");
    test::equal(c.decoder.vocab, 384, name + " vocabulary");
    test::equal(c.system_message.has_value(), name == "d-llama-default-system", name + " system message");
    test::equal(c.decoder.qkv_bias, name != "d-llama-default-system", name + " decoder bias");
    test::equal(c.decoder.eps, name == "d-llama-default-system" ? 1e-5f : 1e-6f, name + " decoder eps");
    test::equal(c.decoder.rope_theta, name == "d-llama-default-system" ? 5e6f : 1e6f, name + " rope_theta");
    test::equal(c.decoder.tied, name == "d-internvit300m-style", name + " tied head");
    test::equal(c.vision.rms_norm, name != "d-internvit300m-style", name + " norm");
    test::equal(c.vision.qk_norm, name != "d-internvit300m-style", name + " q/k norm");
    test::equal(c.vision.qkv_bias, name == "d-internvit300m-style", name + " vision bias");
    test::equal(c.vision.attention_width, c.vision.hidden + (name == "d-dummy-heads" ? c.vision.head_dim : 0) * 2,
                name + " attention width");
    test::equal(c.decoder.head_dim, name == "h-head128-sharded" ? 128 : 64, name + " decoder head_dim");
    check(c.family == (name[0] == 'd' ? kNvlmD : name[0] == 'x' ? kNvlmX : kNvlmH), name + " family");
    test::equal(c.cross.layers.empty(), c.family == kNvlmD, name + " cross layers");
    test::equal(c.projector.layers, c.family == kNvlmX ? 1 : 2, name + " projector layers");
  }
}

void keys_have_the_meaning_of_the_spec() {
  json d = golden_config("d-one-tile");
  const auto layers = [&](int select) {
    d["select_layer"] = select;
    return parsed(d).vision.layers;
  };
  test::equal(layers(-1), 2, "select_layer -1");
  test::equal(layers(-2), 1, "select_layer -2");
  test::equal(layers(-3), 0, "select_layer -3");
  test::equal(layers(0), 0, "select_layer 0");
  test::equal(layers(1), 1, "select_layer 1");
  test::equal(layers(2), 2, "select_layer 2");
  d["select_layer"] = -2;
  test::equal(parsed(d).vision.stored_layers, 2, "stored layers");
  d.erase("select_layer");
  d["ps_version"] = "v1";
  check(parsed(d).shuffle_transposed, "ps_version v1");
  d["system_message"] = "";
  check(!parsed(d).system_message, "empty system message");
  d["system_message"] = "Be brief.";
  test::equal(parsed(d).system_message.value_or(""), std::string("Be brief."), "system message");
  for (const char* key : {"force_image_size", "downsample_ratio", "dynamic_image_size", "use_thumbnail",
                          "min_dynamic_patch", "max_dynamic_patch", "ps_version", "template"})
    d[key] = nullptr;
  const ModelConfig defaults = parsed(d);
  test::equal(defaults.tile_size, 112, "force_image_size defaults to image_size");
  test::equal(defaults.max_tiles, 6, "max_dynamic_patch");
  check(defaults.dynamic_tiles && defaults.use_thumbnail && !defaults.shuffle_transposed, "defaults of flags");

  json x = golden_config("x-six-tiles");
  x["llm_config"]["num_hidden_layers"] = 6;
  const auto cross = [&] {
    std::string text;
    for (const int layer : parsed(x).cross.layers) text += std::to_string(layer) + " ";
    return text;
  };
  test::equal(cross(), std::string("1 3 5 "), "every second layer");
  x["cross_attention_config"]["every_n_layers"] = 4;
  test::equal(cross(), std::string("3 "), "every fourth layer");
  x["cross_attention_config"]["layers"] = {3};
  test::equal(cross(), std::string("3 "), "both, in agreement");
  x["cross_attention_config"]["every_n_layers"] = nullptr;
  x["cross_attention_config"]["layers"] = {4, 0};
  test::equal(cross(), std::string("0 4 "), "a list of layers");
}

// One edit of a good config, by JSON pointer, and what the message must name.
struct Refusal {
  const char* pointer;
  json value;  // discarded: the key is removed
  const char* code;
  const char* fragment;
};

void refuse_each(const json& good, const std::vector<Refusal>& refusals) {
  parsed(good);
  for (const Refusal& r : refusals) {
    json bad = good;
    const json::json_pointer pointer(r.pointer);
    if (r.value.is_discarded()) {
      bad[pointer.parent_pointer()].erase(pointer.back());
    } else {
      bad[pointer] = r.value;
    }
    current = std::string("refused: ") + r.pointer + " = " + (r.value.is_discarded() ? "nothing" : r.value.dump());
    throws(r.code, {r.fragment, "config.json"}, [&] { parsed(bad); });
  }
}

void bad_values_are_refused_by_name() {
  const char* const config = "unsupported-config";
  const char* const architecture = "unsupported-architecture";
  const json gone(json::value_t::discarded);
  refuse_each(golden_config("d-one-tile"),
              {{"/architectures", {"InternVLChatModel"}, architecture, "NVLM_D, NVLM_X and NVLM_H"},
               {"/architectures", {"LlamaForCausalLM"}, architecture, "LlamaForCausalLM"},
               {"/architectures", gone, architecture, "architectures"},
               {"/architectures", "NVLM_D", architecture, "architectures"},
               {"/architectures", {"NVLM_D", "NVLM_X"}, architecture, "architectures"},
               {"/architectures", {7}, architecture, "architectures"},
               {"/vision_config", gone, config, "vision_config in config.json"},
               {"/vision_config", 5, config, "vision_config in config.json"},
               {"/llm_config", json::array(), config, "llm_config in config.json"},
               {"/vision_config/hidden_size", -128, config, "vision_config.hidden_size"},
               {"/vision_config/hidden_size", 1e30, config, "vision_config.hidden_size"},
               {"/vision_config/hidden_size", 18446744073709551615u, config, "vision_config.hidden_size"},
               {"/vision_config/hidden_size", 4294967424, config, "vision_config.hidden_size"},
               {"/vision_config/hidden_size", 128.0, config, "vision_config.hidden_size"},
               {"/vision_config/hidden_size", "128", config, "vision_config.hidden_size"},
               {"/vision_config/hidden_size", gone, config, "vision_config.hidden_size"},
               {"/vision_config/num_attention_heads", 3, config, "vision_config.num_attention_heads"},
               {"/vision_config/num_attention_heads", 15, config, "does not divide"},
               {"/vision_config/num_attention_heads", 0, config, "vision_config.num_attention_heads"},
               {"/vision_config/num_attention_heads", 32, config, "vision_config.num_attention_heads"},  // heads of 4
               {"/vision_config/hidden_act", "gelu_tanh", config, "vision_config.hidden_act"},
               {"/vision_config/norm_type", "batch_norm", config, "vision_config.norm_type"},
               {"/vision_config/norm_type", 1, config, "vision_config.norm_type"},
               {"/vision_config/num_channels", 1, config, "vision_config.num_channels"},
               {"/vision_config/patch_size", 15, config, "vision_config.patch_size"},
               {"/vision_config/patch_size", 0, config, "vision_config.patch_size"},
               {"/vision_config/patch_size", 16, config, "downsample_ratio"},  // 7 patches a side
               {"/vision_config/image_size", 224, config, "force_image_size"},
               {"/vision_config/layer_norm_eps", 0, config, "vision_config.layer_norm_eps"},
               {"/vision_config/layer_norm_eps", -1e-6, config, "vision_config.layer_norm_eps"},
               {"/vision_config/layer_norm_eps", 1.5, config, "vision_config.layer_norm_eps"},
               {"/vision_config/qk_normalization", "yes", config, "vision_config.qk_normalization"},
               {"/vision_config/num_hidden_layers", 100000, config, "vision_config.num_hidden_layers"},
               {"/llm_config/architectures", {"InternLM2ForCausalLM"}, config, "llm_config.architectures"},
               {"/llm_config/hidden_act", "gelu", config, "llm_config.hidden_act"},
               {"/llm_config/rope_scaling", {{"type", "yarn"}, {"factor", 4.0}}, config, "llm_config.rope_scaling"},
               {"/llm_config/rope_parameters", {{"rope_theta", 1e6}}, config, "llm_config.rope_parameters"},
               {"/llm_config/use_sliding_window", true, config, "llm_config.use_sliding_window"},
               {"/llm_config/partial_rotary_factor", 0.5, config, "llm_config.partial_rotary_factor"},
               {"/llm_config/num_key_value_heads", 3, config, "llm_config.num_key_value_heads"},
               {"/llm_config/num_key_value_heads", gone, config, "llm_config.num_key_value_heads"},
               {"/llm_config/num_attention_heads", 5, config, "llm_config.num_attention_heads"},
               {"/llm_config/head_dim", 60, config, "llm_config.head_dim"},
               {"/llm_config/vocab_size", 2147483648u, config, "llm_config.vocab_size"},
               {"/llm_config/max_position_embeddings", -1, config, "llm_config.max_position_embeddings"},
               {"/llm_config/rms_norm_eps", gone, config, "llm_config.rms_norm_eps"},
               {"/llm_config/rope_theta", 0, config, "llm_config.rope_theta"},
               {"/llm_config/tie_word_embeddings", 1, config, "llm_config.tie_word_embeddings"},
               {"/cross_attention_config", {{"every_n_layers", 2}}, config, "cross_attention_config"},
               {"/quantization_config", {{"bits", 4}}, config, "quantization_config"},
               {"/force_image_size", 448, config, "force_image_size"},
               {"/downsample_ratio", 0.25, config, "downsample_ratio"},
               {"/downsample_ratio", 0, config, "downsample_ratio"},
               {"/min_dynamic_patch", 0, config, "min_dynamic_patch"},
               {"/min_dynamic_patch", 7, config, "min_dynamic_patch"},
               {"/max_dynamic_patch", 1000000, config, "max_dynamic_patch"},
               {"/ps_version", "v3", config, "ps_version"},
               {"/select_layer", 18446744073709551615u, config, "select_layer"},  // -1 if it wrapped
               {"/select_layer", 3, config, "select_layer"},
               {"/select_layer", -4, config, "select_layer"},
               {"/template", "internlm2-chat", config, "template"},
               {"/system_message", 5, config, "system_message"}});
  refuse_each(
      golden_config("x-six-tiles"),
      {{"/cross_attention_config", gone, config, "cross_attention_config"},
       {"/cross_attention_config/gate", "sigmoid", config, "cross_attention_config.gate"},
       {"/cross_attention_config/every_n_layers", 0, config, "cross_attention_config.every_n_layers"},
       {"/cross_attention_config/every_n_layers", 3, config, "cross_attention_config.every_n_layers"},
       {"/cross_attention_config/every_n_layers", gone, config, "cross_attention_config.every_n_layers"},
       {"/cross_attention_config/layers",
        {0},
        config,
        "cross_attention_config.layers"},  // contradicts every second layer
       {"/cross_attention_config/layers", {2}, config, "cross_attention_config.layers"},
       {"/cross_attention_config/layers", {-1}, config, "cross_attention_config.layers"},
       {"/cross_attention_config/layers", {1, 1}, config, "names a layer twice"},
       {"/cross_attention_config/layers", "all", config, "cross_attention_config.layers"},
       {"/cross_attention_config/num_attention_heads", 3, config, "cross_attention_config.num_attention_heads"},
       {"/cross_attention_config/num_key_value_heads", 4, config, "cross_attention_config.num_key_value_heads"}});
}

void what_is_no_json_object_is_refused() {
  for (const std::string& text : {std::string(), std::string("{"), std::string("[]"), std::string("null"),
                                  std::string("\xff\xfe"), std::string(100000, '['), std::string("{}}")}) {
    throws("corrupt-checkpoint", {"config.json"}, [&] { parse_config(text, "config.json"); });
  }
  // A value of deep brackets: neither printing nor freeing it may recurse.
  json good = golden_config("d-one-tile");
  std::string text = good.dump();
  const std::string deep = std::string(200000, '[') + std::string(200000, ']');
  text.replace(text.find("\"chatml\""), 8, deep);
  throws("unsupported-config", {"template", "a list"}, [&] { parse_config(text, "config.json"); });
}

void folders_without_a_config_are_refused() {
  const ScratchFolder scratch("config");
  throws("file-not-found", {scratch.path() + "/nowhere"}, [&] { read_config(scratch.path() + "/nowhere"); });
  throws("not-a-checkpoint", {"config.json", scratch.path()}, [&] { read_config(scratch.path()); });
  scratch.write("config.json", "");
  throws("corrupt-checkpoint", {"config.json"}, [&] { read_config(scratch.path()); });
  throws("not-a-checkpoint", {"is not a folder"}, [&] { read_config(scratch.path() + "/config.json"); });
  scratch.write("config.json", std::string((1 << 20) + 1, ' '));
  throws("corrupt-checkpoint", {"1048577 bytes"}, [&] { read_config(scratch.path()); });
}

// A checkpoint of float32 zeros with these shapes, in memory.
std::string zeros(const std::vector<std::pair<std::string, std::vector<std::int64_t>>>& tensors) {
  json header;
  std::uint64_t end = 0;
  for (const auto& [name, shape] : tensors) {
    std::uint64_t bytes = 4;
    for (const auto extent : shape) bytes *= static_cast<std::uint64_t>(extent);
    header[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {end, end + bytes}}};
    end += bytes;
  }
  const std::string text = header.dump();
  std::string file(8, '\0');
  for (int i = 0; i < 8; ++i) file[static_cast<std::size_t>(i)] = static_cast<char>(text.size() >> (8 * i));
  return file + text + std::string(end, '\0');
}

void tensors_win_over_the_config() {
  const std::string qkv = "vision_model.encoder.layers.0.attn.qkv.weight", projector = "mlp1.1.weight",
                    q = "language_model.model.layers.0.self_attn.q_proj.weight";
  const auto reconciled = [&](const std::vector<std::pair<std::string, std::vector<std::int64_t>>>& tensors) {
    ModelConfig c = parsed(golden_config("d-one-tile"));  // vision 128 in 2 heads, decoder 128 in 2 heads
    const std::string file = zeros(tensors);
    reconcile(c, Checkpoint::open_from(
                     [&](const std::string& name) -> std::optional<std::span<const std::byte>> {
                       if (name != "model.safetensors") return std::nullopt;
                       return std::as_bytes(std::span(file.data(), file.size()));
                     },
                     "memory"));
    return c;
  };
  const ModelConfig c = reconciled({{qkv, {3 * 192, 128}}, {projector, {48, 512}}, {q, {2 * 24, 128}}});
  test::equal(c.vision.attention_width, 192, "attention width");
  test::equal(c.projector.hidden, 48, "projector width");
  test::equal(c.decoder.head_dim, 24, "decoder head_dim");
  check(c.decoder.tied, "no head tensor");
  check(!c.decoder.qkv_bias, "no bias tensor, though attention_bias is true");
  throws("corrupt-checkpoint", {qkv}, [&] { reconciled({{projector, {48, 512}}, {q, {48, 128}}}); });
  throws("corrupt-checkpoint", {qkv, "[576]"}, [&] {
    reconciled({{qkv, {576}}, {projector, {48, 512}}, {q, {48, 128}}});
  });
  throws("unsupported-config", {qkv, "575 rows"}, [&] {
    reconciled({{qkv, {575, 1}}, {projector, {48, 512}}, {q, {48, 128}}});
  });
  throws("unsupported-config", {qkv, "577 rows"}, [&] {
    reconciled({{qkv, {577, 1}}, {projector, {48, 512}}, {q, {48, 128}}});
  });
  throws("unsupported-config", {qkv, "192 rows"}, [&] {
    reconciled({{qkv, {192, 1}}, {projector, {48, 512}}, {q, {48, 128}}});
  });
  // Half a head.
  throws("unsupported-config", {qkv, "480 rows"}, [&] {
    reconciled({{qkv, {480, 1}}, {projector, {48, 512}}, {q, {48, 128}}});
  });
  throws("unsupported-config", {projector}, [&] {
    reconciled({{qkv, {576, 1}}, {projector, {0, 512}}, {q, {48, 128}}});
  });
  throws("corrupt-checkpoint", {q}, [&] { reconciled({{qkv, {576, 1}}, {projector, {48, 512}}}); });
  throws("unsupported-config", {q, "llm_config.num_attention_heads"}, [&] {
    reconciled({{qkv, {576, 1}}, {projector, {48, 512}}, {q, {49, 1}}});
  });
  throws("unsupported-config", {q}, [&] { reconciled({{qkv, {576, 1}}, {projector, {48, 512}}, {q, {2 * 12, 1}}}); });
  throws("unsupported-config", {q}, [&] { reconciled({{qkv, {576, 1}}, {projector, {48, 512}}, {q, {0, 1}}}); });
}

}  // namespace

int main() {
  run("NVIDIA's own config is read", published_model_is_read);
  run("the golden cases are read, and their tensors decide", golden_cases_are_read);
  run("keys have the meaning of the spec", keys_have_the_meaning_of_the_spec);
  run("bad values are refused by name", bad_values_are_refused_by_name);
  run("what is no JSON object is refused", what_is_no_json_object_is_refused);
  run("folders without a config are refused", folders_without_a_config_are_refused);
  run("tensors win over the config", tensors_win_over_the_config);
  return summary();
}
