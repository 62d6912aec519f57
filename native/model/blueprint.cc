#include "model/blueprint.h"

#include <algorithm>
#include <array>

#include "platform/error.h"
#include "platform/memory.h"

namespace nvlm {
namespace {

constexpr int kDefaultContext = 8192;
constexpr int kMostTiles = 12;  // as the published inference code allows
// Rows of one encoder run: a tile of 1025 rows fills the kernels, small tiles are batched up to about as many.
constexpr int kEncodeRows = 1025;

int in_range(const char* name, int value, int least, int most) {
  if (value >= least && value <= most) return value;
  throw Error("bad-option", "Expected an integer between " + std::to_string(least) + " and " + std::to_string(most) +
                                " for options." + name + " but received " + std::to_string(value) +
                                ". Leave it out for the default.");
}

LoadOptions resolve(LoadOptions o, const ModelConfig& c, int device_rows) {
  o.max_tiles = in_range("maxTiles", o.max_tiles ? o.max_tiles : c.max_tiles, 1, std::max(kMostTiles, c.max_tiles));
  o.context_length = in_range("contextLength",
                              o.context_length ? o.context_length : std::min(c.decoder.max_positions, kDefaultContext),
                              1, c.decoder.max_positions);
  o.max_sequences = in_range("maxSequences", o.max_sequences, 1, 64);
  o.max_images = in_range("maxImages", o.max_images, 1, 256);
  // All that a step could be asked for, and never less than a row of each sequence.
  const int64_t all = static_cast<int64_t>(o.max_sequences) * o.context_length;
  o.step_rows =
      static_cast<int>(std::min<int64_t>(std::max(o.step_rows ? o.step_rows : device_rows, o.max_sequences), all));
  return o;
}

int64_t pages_for(int64_t keys) { return (keys + NVLM_PAGE_KEYS - 1) / NVLM_PAGE_KEYS; }

// Most cross keys of one image. A tag is as many tokens as it has bytes at most (byte-level vocabulary).
int64_t most_cross_keys(const ModelConfig& c, int max_tiles) {
  constexpr int kLongestTag = sizeof("<tile_12>") - 1;
  switch (c.family) {
    case Family::D: return 0;
    case Family::X: return static_cast<int64_t>(max_tiles + 1) * c.tokens_per_tile();
    case Family::H: return static_cast<int64_t>(max_tiles) * (c.tokens_per_tile() + kLongestTag);
  }
  return 0;
}

ModelConfig reconciled(const std::string& folder, const Checkpoint& checkpoint) {
  ModelConfig config = read_config(folder);
  reconcile(config, checkpoint);
  return config;
}

}  // namespace

Device::Opened Device::open(const LoadOptions& options) {
  Opened opened{choose_backend(options.device, options.cuda_library)};
  const auto failure = [&] {
    nvlm_open_options o{};
    o.threads = options.threads;
    o.device = opened.choice.device;
    o.instruction_set = options.instruction_set.empty() ? nullptr : options.instruction_set.c_str();
    return opened.choice.backend->open(&o, &opened.handle) == NVLM_OK
               ? std::string()
               : std::string(opened.choice.backend->last_error(nullptr));
  };
  std::string reason = failure();
  // A GPU that looks usable may still have no memory left, or refuse the first kernel.
  if (!reason.empty() && options.device == "auto" && opened.choice.backend != nvlm_cpu_backend()) {
    opened.choice = choose_backend("cpu", "");
    opened.choice.fallback = reason;
    reason = failure();
  }
  if (!reason.empty()) throw Error("device-unavailable", reason);
  return opened;
}

Device::~Device() { backend.close(handle); }

nvlm_capabilities Device::capabilities() const {
  nvlm_capabilities c{};
  backend.capabilities(handle, &c);
  return c;
}

uint64_t Device::memory_free() const {
  const nvlm_capabilities c = capabilities();
  return c.memory_total ? c.memory_free : nvlm::free_memory();
}

Blueprint::Blueprint(const LoadOptions& wanted, Device& device)
    : checkpoint(Checkpoint::open(wanted.folder)),
      config(reconciled(wanted.folder, checkpoint)),
      options(resolve(wanted, config, device.capabilities().step_rows)),
      weights(checkpoint),
      activations(device.capabilities().activations) {
  // Weights.
  weights.count_into(&parameters.encoder);
  const EncoderWeights encoder = declare_encoder(weights, config.vision);
  for (int i = config.vision.layers; i < config.vision.stored_layers; ++i) {
    checkpoint.ignore("vision_model.encoder.layers." + std::to_string(i) + ".");
  }
  weights.count_into(&parameters.projector);
  const ProjectorWeights projector = declare_projector(weights, config);
  const DecoderWeights decoder = declare_decoder(weights, config, parameters.decoder, parameters.cross_attention);
  checkpoint.expect_all_used();

  // Programs.
  const int tile_rows = config.vision.grid() * config.vision.grid() + 1;
  ProgramBuilder p("encode", weights, activations);
  const Value tokens = record_projector(p, projector, config, record_encoder(p, encoder, config.vision));
  encode_tokens = tokens.id;
  encode = p.finish(std::max(1, kEncodeRows / tile_rows), 0, 0, {tokens});

  const auto decode = [&](const char* name, bool cross, int32_t& logits_id) {
    ProgramBuilder builder(name, weights, activations);
    const Value logits = record_decoder(builder, decoder, config, cross);
    logits_id = logits.id;
    return builder.finish(0, options.step_rows, options.max_sequences, {logits});
  };
  decode_text = decode("decode", false, text_logits);
  if (config.family != Family::D) {
    decode_cross = decode("decode with cross-attention", true, cross_logits);
    ProgramBuilder cross("cross", weights, activations);
    record_cross_projection(cross, decoder, config);
    cross_projection = cross.finish(0, options.step_rows, 0, {});
  }

  // Caches.
  const int64_t self_pages = options.max_sequences * pages_for(options.context_length);
  self_kv = {nullptr,
             config.decoder.layers,
             static_cast<int32_t>(self_pages),
             config.decoder.kv_heads,
             config.decoder.head_dim,
             activations};
  if (config.family != Family::D) {
    const int64_t cross_pages = static_cast<int64_t>(options.max_sequences) * options.max_images *
                                pages_for(most_cross_keys(config, options.max_tiles));
    cross_kv = {nullptr,
                static_cast<int32_t>(config.cross.layers.size()),
                static_cast<int32_t>(cross_pages),
                config.cross.kv_heads,
                config.cross.head_dim,
                activations};
  }
  // A batch names each page of its sequences once; an image may stand in several prompts, and twice in one.
  for (Program* program : {&decode_text, &decode_cross}) {
    program->max_self_pages = self_kv.pages;
    program->max_cross_pages = static_cast<int64_t>(options.max_sequences) * options.max_images * cross_kv.pages;
    program->max_history = static_cast<int64_t>(options.max_sequences) * options.context_length;
  }
  plan_memory(device);
}

uint64_t Blueprint::arena_bytes() const {
  return std::max(
      {encode.arena_bytes, cross_projection.arena_bytes, decode_text.arena_bytes, decode_cross.arena_bytes});
}

uint64_t Blueprint::image_bytes(int tiles) const {
  return static_cast<uint64_t>(tiles) * static_cast<uint64_t>(config.tokens_per_tile()) * token_bytes();
}

uint64_t Blueprint::token_bytes() const {
  return static_cast<uint64_t>(config.decoder.hidden) * nvlm_dtype_bytes(activations);
}

void Blueprint::plan_memory(const Device& device) {
  memory.weights = weights.packed_bytes(device.backend, device.handle);
  memory.kv_cache = nvlm_kv_cache_bytes(&self_kv);
  memory.cross_cache = nvlm_kv_cache_bytes(&cross_kv);
  memory.activations = arena_bytes();
  for (const Program* program : {&encode, &cross_projection, &decode_text, &decode_cross}) {
    if (program->records.empty()) continue;
    const nvlm_program view = program->view(weights, nullptr, self_kv, cross_kv);
    memory.activations += device.backend.plan_bytes(device.handle, &view);
  }
  memory.images = static_cast<uint64_t>(options.max_images) * image_bytes(options.max_tiles + 1);
}

Description Blueprint::describe(const Device& device) const {
  const nvlm_capabilities capabilities = device.capabilities();
  Description d{config, options, memory, parameters, {}, {}, device.memory_free(), device.choice.fallback};
  const bool on_host = capabilities.memory_total == 0;
  if (on_host) d.instruction_set = capabilities.instruction_set;
  // Beside a GPU the CPU cuts the tiles that the GPU has no memory for.
  d.options.threads = on_host ? capabilities.threads : options.threads ? options.threads : usable_cpus();
  d.options.device = device.choice.id;
  d.program = (config.family == Family::D ? decode_text : decode_cross).lines();
  return d;
}

}  // namespace nvlm
