#include "addon/convert.h"

#include <limits>
#include <string>
#include <utility>

namespace nvlm {

// ---- From JavaScript ----

namespace {

constexpr int kMostInt = std::numeric_limits<int>::max();
constexpr int kLongestSide = 1 << 24;   // of an image in pixels; keeps width · height · 3 far inside 64 bits
constexpr int kMostTileSide = 1 << 12;  // of a grid, in tiles

Sampling read_sampling(Napi::Value value, js::Failure& failure) {
  js::Fields fields(value, "request.sampling", failure);
  constexpr double most = std::numeric_limits<float>::max();
  Sampling sampling;
  sampling.temperature = static_cast<float>(fields.number("temperature", 0, most));
  sampling.top_k = fields.integer("topK", 0, kMostInt);
  sampling.top_p = static_cast<float>(fields.number("topP", 0, 1));
  sampling.min_p = static_cast<float>(fields.number("minP", 0, 1));
  sampling.repetition_penalty = static_cast<float>(fields.number("repetitionPenalty", 0, most));
  sampling.presence_penalty = static_cast<float>(fields.number("presencePenalty", -most, most));
  sampling.frequency_penalty = static_cast<float>(fields.number("frequencyPenalty", -most, most));
  sampling.seed = static_cast<uint64_t>(fields.number("seed", 0, js::kMostSafeInteger));
  sampling.top_logprobs = fields.integer("topLogprobs", -1, NVLM_MAX_TOP_LOGPROBS);
  return sampling;
}

}  // namespace

LoadOptions read_load_options(Napi::Value value, js::Failure& failure) {
  js::Fields fields(value, "options", failure);
  LoadOptions options;
  options.folder = fields.string("folder");
  options.device = fields.string("device");
  options.cuda_library = fields.string("cudaLibrary");
  options.threads = fields.integer("threads", 0, kMostInt);
  options.max_tiles = fields.integer("maxTiles", 0, kMostInt);
  options.context_length = fields.integer("contextLength", 0, kMostInt);
  options.max_sequences = fields.integer("maxSequences", 1, kMostInt);
  options.max_images = fields.integer("maxImages", 0, kMostInt);
  return options;
}

ImageInput read_image(Napi::Value value, std::vector<Napi::Object>& pinned, js::Failure& failure) {
  js::Fields fields(value, "image", failure);
  ImageInput image;
  if (fields.has("handle")) {
    image.handle = fields.id("handle");
    return image;
  }
  image.width = fields.integer("width", 1, kLongestSide);
  image.height = fields.integer("height", 1, kLongestSide);
  image.columns = fields.integer("columns", 1, kMostTileSide);
  image.rows = fields.integer("rows", 1, kMostTileSide);
  Napi::Uint8Array pixels = fields.bytes("pixels");
  const uint64_t expected = uint64_t{3} * static_cast<uint64_t>(image.width) * static_cast<uint64_t>(image.height);
  if (!pixels.Data() || pixels.ElementLength() != expected) {
    fields.refuse("pixels",
                  std::to_string(expected) + " bytes (they are " + std::to_string(pixels.ElementLength()) + ")");
    return image;
  }
  image.pixels = pixels.Data();
  pinned.push_back(pixels);
  return image;
}

std::vector<std::vector<int32_t>> read_tile_tags(const std::vector<int32_t>& ids, const std::vector<int32_t>& lengths,
                                                 js::Failure& failure) {
  std::vector<std::vector<int32_t>> tags;
  size_t at = 0;
  for (const int32_t length : lengths) {
    if (length < 0 || static_cast<size_t>(length) > ids.size() - at) break;
    const auto begin = ids.begin() + static_cast<std::ptrdiff_t>(at);
    tags.emplace_back(begin, begin + length);
    at += static_cast<size_t>(length);
  }
  if ((tags.size() != lengths.size() || at != ids.size()) && !failure) {
    failure = js::mismatch("tileTagLengths do not add up to the " + std::to_string(ids.size()) + " ids of tileTagIds.");
  }
  return tags;
}

Request read_request(Napi::Value value, std::vector<Napi::Object>& pinned, js::Failure& failure) {
  js::Fields fields(value, "request", failure);
  Request request;
  request.prompt.ids = fields.int32_array("ids");
  for (const Napi::Value& image : fields.array("images")) request.images.push_back(read_image(image, pinned, failure));
  const std::vector<int32_t> slots = fields.int32_array("slots");
  if (slots.size() % 3 != 0) fields.refuse("slots", "triples");
  for (size_t i = 0; i + 2 < slots.size(); i += 3)
    request.prompt.slots.push_back({slots[i], slots[i + 1], slots[i + 2]});
  for (const Napi::Value& tag : fields.array("tags")) {
    js::Fields tag_fields(tag, "request.tags", failure);
    request.prompt.tags.push_back({tag_fields.integer("position", 0, kMostInt),
                                   tag_fields.integer("length", 0, kMostInt), tag_fields.integer("image", 0, kMostInt),
                                   tag_fields.integer("tile", 0, kMostInt)});
  }
  request.prompt.image_ends = fields.int32_array("imageEnds");
  request.tile_tags = read_tile_tags(fields.int32_array("tileTagIds"), fields.int32_array("tileTagLengths"), failure);
  request.max_tokens = fields.integer("maxTokens", 1, kMostInt);
  request.stop_ids = fields.int32_array("stopIds");
  for (const Napi::Value& stop : fields.array("stopStrings")) {
    Napi::Uint8Array bytes;
    if (!js::as_bytes(stop, &bytes) || !bytes.Data() || bytes.ElementLength() == 0) {
      fields.refuse("stopStrings", "Uint8Arrays that are not empty");
      break;
    }
    request.stop_strings.emplace_back(reinterpret_cast<const char*>(bytes.Data()), bytes.ElementLength());
  }
  request.sampling = read_sampling(fields.get("sampling"), failure);
  return request;
}

// ---- To JavaScript ----

namespace {

template <typename T>
Napi::Array list_to_js(Napi::Env env, const std::vector<T>& values) {
  Napi::Array list = Napi::Array::New(env);
  for (const T& value : values) list.Set(list.Length(), value);
  return list;
}

Napi::Object timings_to_js(Napi::Env env, const Timings& timings) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("queued", timings.queued);
  object.Set("cutTiles", timings.cut_tiles);
  object.Set("encodeTiles", timings.encode_tiles);
  object.Set("prefill", timings.prefill);
  object.Set("decode", timings.decode);
  return object;
}

Napi::Object logprob_to_js(Napi::Env env, int32_t id, float logprob) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("id", id);
  object.Set("logprob", logprob);
  return object;
}

Napi::Value logprobs_to_js(Napi::Env env, const std::vector<Logprob>& logprobs) {
  if (logprobs.empty()) return env.Null();
  Napi::Array list = Napi::Array::New(env);
  for (const Logprob& logprob : logprobs) {
    Napi::Array top = Napi::Array::New(env);
    for (const auto& [id, value] : logprob.top) top.Set(top.Length(), logprob_to_js(env, id, value));
    Napi::Object object = logprob_to_js(env, logprob.id, logprob.logprob);
    object.Set("top", top);
    list.Set(list.Length(), object);
  }
  return list;
}

Napi::Object memory_to_js(Napi::Env env, const MemoryUse& memory) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("weights", memory.weights);
  object.Set("kvCache", memory.kv_cache);
  object.Set("crossCache", memory.cross_cache);
  object.Set("activations", memory.activations);
  object.Set("images", memory.images);
  object.Set("total", memory.total());
  return object;
}

Napi::Object vision_to_js(Napi::Env env, const VisionConfig& vision) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("hiddenSize", vision.hidden);
  object.Set("layers", vision.layers);
  object.Set("heads", vision.heads);
  object.Set("headDim", vision.head_dim);
  object.Set("patchSize", vision.patch);
  object.Set("norm", vision.rms_norm ? "rms_norm" : "layer_norm");
  return object;
}

Napi::Object parameters_to_js(Napi::Env env, const ParameterCounts& parameters) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("encoder", parameters.encoder);
  object.Set("projector", parameters.projector);
  object.Set("decoder", parameters.decoder);
  object.Set("crossAttention", parameters.cross_attention);
  object.Set("total", parameters.encoder + parameters.projector + parameters.decoder + parameters.cross_attention);
  return object;
}

const char* name_of(Event::Type type) {
  switch (type) {
    case Event::Type::text: return "text";
    case Event::Type::finish: return "finish";
    case Event::Type::encoded: return "encoded";
    case Event::Type::pixels_free: return "pixels-free";
    case Event::Type::progress: return "progress";
    case Event::Type::loaded: return "loaded";
    case Event::Type::error: return "error";
    case Event::Type::closed: return "closed";
  }
  return "";
}

}  // namespace

Napi::Object description_to_js(Napi::Env env, const Description& description, bool with_program) {
  const ModelConfig& config = description.config;
  const LoadOptions& options = description.options;
  const bool no_system = !config.system_message || config.system_message->empty();
  Napi::Object memory = memory_to_js(env, description.memory);
  memory.Set("free", description.memory_free);
  Napi::Object object = Napi::Object::New(env);
  object.Set("architecture", std::string(config.family.name));
  object.Set("dtype", config.dtype);
  object.Set("tileSize", config.tile_size);
  object.Set("tokensPerTile", config.tokens_per_tile());
  object.Set("minTiles", config.min_tiles);
  object.Set("maxTiles", options.max_tiles);
  object.Set("dynamicTiles", config.dynamic_tiles);
  object.Set("useThumbnail", config.use_thumbnail);
  object.Set("systemMessage", no_system ? env.Null() : Napi::Value::From(env, *config.system_message));
  object.Set("vocabSize", config.decoder.vocab);
  object.Set("contextLength", options.context_length);
  object.Set("maxSequences", options.max_sequences);
  object.Set("maxImages", options.max_images);
  object.Set("hiddenSize", config.decoder.hidden);
  object.Set("layers", config.decoder.layers);
  object.Set("crossLayers", list_to_js(env, config.cross.layers));
  object.Set("heads", config.decoder.heads);
  object.Set("kvHeads", config.decoder.kv_heads);
  object.Set("headDim", config.decoder.head_dim);
  object.Set("vision", vision_to_js(env, config.vision));
  object.Set("parameters", parameters_to_js(env, description.parameters));
  object.Set("memory", memory);
  object.Set("device", options.device);
  object.Set("fallback", js::or_null(env, description.fallback));
  object.Set("instructionSet", js::or_null(env, description.instruction_set));
  object.Set("threads", options.threads);
  if (with_program) object.Set("program", list_to_js(env, description.program));
  return object;
}

Napi::Object stats_to_js(Napi::Env env, const Stats& stats) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("memory", memory_to_js(env, stats.memory));
  object.Set("activeRequests", stats.active_requests);
  object.Set("images", stats.images);
  object.Set("encodedTiles", stats.encoded_tiles);
  object.Set("crossProjections", stats.cross_projections);
  return object;
}

Napi::Object event_to_js(Napi::Env env, const Event& event) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("type", name_of(event.type));
  switch (event.type) {
    case Event::Type::text:
      object.Set("request", event.request);
      object.Set("text", event.text);
      object.Set("ids", js::to_js(env, event.ids));
      object.Set("logprobs", logprobs_to_js(env, event.logprobs));
      break;
    case Event::Type::finish:
      object.Set("request", event.request);
      object.Set("reason", event.code);
      object.Set("stopString", event.stop_string);
      object.Set("generated", event.generated);
      object.Set("timings", timings_to_js(env, event.timings));
      break;
    case Event::Type::encoded:
      object.Set("request", event.request);
      object.Set("handle", event.handle);
      object.Set("bytes", event.bytes);
      object.Set("tiles", event.tiles);
      object.Set("timings", timings_to_js(env, event.timings));
      break;
    case Event::Type::pixels_free: object.Set("request", event.request); break;
    case Event::Type::progress:
      object.Set("loaded", event.loaded);
      object.Set("total", event.total);
      break;
    case Event::Type::loaded: object.Set("description", description_to_js(env, *event.description, false)); break;
    case Event::Type::error:
      object.Set("request", event.request);
      object.Set("code", event.code);
      object.Set("message", event.text);
      break;
    case Event::Type::closed: break;
  }
  return object;
}

}  // namespace nvlm
