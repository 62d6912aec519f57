#include "addon/convert.h"

#include <limits>
#include <utility>

#include "platform/memory.h"

namespace nvlm {
namespace {

constexpr int kMostInt = std::numeric_limits<int>::max();
constexpr int kLongestSide = 1 << 24;  // of an image in pixels; keeps width · height · 3 far inside 64 bits
constexpr int kMostTileSide = 1 << 12; // of a grid, in tiles

Sampling read_sampling(napi_env env, napi_value value, js::Failure& failure) {
  js::Fields fields(env, value, "request.sampling", failure);
  constexpr double most = std::numeric_limits<float>::max();
  Sampling sampling;
  sampling.temperature = static_cast<float>(fields.number("temperature", 0, most));
  sampling.top_k = fields.integer("topK", 0, kMostInt);
  sampling.top_p = static_cast<float>(fields.number("topP", 0, 1));
  sampling.min_p = static_cast<float>(fields.number("minP", 0, 1));
  sampling.repetition_penalty = static_cast<float>(fields.number("repetitionPenalty", 0, most));
  sampling.presence_penalty = static_cast<float>(fields.number("presencePenalty", -most, most));
  sampling.frequency_penalty = static_cast<float>(fields.number("frequencyPenalty", -most, most));
  sampling.seed = static_cast<uint64_t>(fields.number("seed", 0, 9007199254740991.0));
  sampling.top_logprobs = fields.integer("topLogprobs", -1, NVLM_MAX_TOP_LOGPROBS);
  return sampling;
}

napi_value timings_to_js(napi_env env, const Timings& timings) {
  return js::object(env, {{"queued", js::number(env, timings.queued)},
                          {"cutTiles", js::number(env, timings.cut_tiles)},
                          {"encodeTiles", js::number(env, timings.encode_tiles)},
                          {"prefill", js::number(env, timings.prefill)},
                          {"decode", js::number(env, timings.decode)}});
}

napi_value logprobs_to_js(napi_env env, const std::vector<Logprob>& logprobs) {
  if (logprobs.empty()) return js::null(env);
  js::Array list(env);
  for (const Logprob& logprob : logprobs) {
    js::Array top(env);
    for (const auto& [id, value] : logprob.top) top.add(js::object(env, {{"id", js::number(env, id)}, {"logprob", js::number(env, value)}}));
    list.add(js::object(env, {{"id", js::number(env, logprob.id)}, {"logprob", js::number(env, logprob.logprob)}, {"top", top.value()}}));
  }
  return list.value();
}

napi_value count(napi_env env, uint64_t value) { return js::number(env, static_cast<double>(value)); }

}  // namespace

// ---- From JavaScript ----

LoadOptions read_load_options(napi_env env, napi_value value, js::Failure& failure) {
  js::Fields fields(env, value, "options", failure);
  LoadOptions options;
  options.folder = fields.string("folder");
  options.device = fields.string("device");
  options.threads = fields.integer("threads", 0, kMostInt);
  options.max_tiles = fields.integer("maxTiles", 0, kMostInt);
  options.context_length = fields.integer("contextLength", 0, kMostInt);
  options.max_sequences = fields.integer("maxSequences", 1, kMostInt);
  options.max_images = fields.integer("maxImages", 0, kMostInt);
  return options;
}

ImageInput read_image(napi_env env, napi_value value, std::vector<napi_value>& pinned, js::Failure& failure) {
  js::Fields fields(env, value, "image", failure);
  ImageInput image;
  if (fields.has("handle")) {
    image.handle = fields.id("handle");
    return image;
  }
  image.width = fields.integer("width", 1, kLongestSide);
  image.height = fields.integer("height", 1, kLongestSide);
  image.columns = fields.integer("columns", 1, kMostTileSide);
  image.rows = fields.integer("rows", 1, kMostTileSide);
  size_t length = 0;
  image.pixels = fields.bytes("pixels", length);
  const uint64_t expected = uint64_t{3} * static_cast<uint64_t>(image.width) * static_cast<uint64_t>(image.height);
  if (length != expected || !image.pixels) {
    fields.refuse("pixels", std::to_string(expected) + " bytes (they are " + std::to_string(length) + ")");
  } else {
    pinned.push_back(fields.get("pixels"));
  }
  return image;
}

std::vector<std::vector<int32_t>> read_tile_tags(const std::vector<int32_t>& ids, const std::vector<int32_t>& lengths, js::Failure& failure) {
  std::vector<std::vector<int32_t>> tags;
  size_t at = 0;
  for (const int32_t length : lengths) {
    if (length < 0 || static_cast<size_t>(length) > ids.size() - at) break;
    const auto begin = ids.begin() + static_cast<std::ptrdiff_t>(at);
    tags.emplace_back(begin, begin + length);
    at += static_cast<size_t>(length);
  }
  if ((tags.size() != lengths.size() || at != ids.size()) && !failure) {
    failure = {"internal", "tileTagLengths do not add up to the " + std::to_string(ids.size()) + " ids of tileTagIds. Install library and addon of the same version."};
  }
  return tags;
}

Request read_request(napi_env env, napi_value value, std::vector<napi_value>& pinned, js::Failure& failure) {
  js::Fields fields(env, value, "request", failure);
  Request request;
  request.prompt.ids = fields.int32_array("ids");
  for (napi_value image : fields.array("images")) request.images.push_back(read_image(env, image, pinned, failure));
  const std::vector<int32_t> slots = fields.int32_array("slots");
  if (slots.size() % 3 != 0) fields.refuse("slots", "triples");
  for (size_t i = 0; i + 2 < slots.size(); i += 3) request.prompt.slots.push_back({slots[i], slots[i + 1], slots[i + 2]});
  for (napi_value tag : fields.array("tags")) {
    js::Fields tag_fields(env, tag, "request.tags", failure);
    request.prompt.tags.push_back({tag_fields.integer("position", 0, kMostInt), tag_fields.integer("length", 0, kMostInt), tag_fields.integer("image", 0, kMostInt),
                                   tag_fields.integer("tile", 0, kMostInt)});
  }
  request.prompt.image_ends = fields.int32_array("imageEnds");
  request.tile_tags = read_tile_tags(fields.int32_array("tileTagIds"), fields.int32_array("tileTagLengths"), failure);
  request.max_tokens = fields.integer("maxTokens", 1, kMostInt);
  request.stop_ids = fields.int32_array("stopIds");
  for (napi_value stop : fields.array("stopStrings")) {
    const uint8_t* data = nullptr;
    size_t length = 0;
    if (!js::as_bytes(env, stop, &data, &length) || length == 0) {
      fields.refuse("stopStrings", "Uint8Arrays that are not empty");
      break;
    }
    request.stop_strings.emplace_back(reinterpret_cast<const char*>(data), length);
  }
  request.sampling = read_sampling(env, fields.get("sampling"), failure);
  return request;
}

// ---- To JavaScript ----

namespace {

napi_value memory_to_js(napi_env env, const MemoryPlan& memory, const uint64_t* free) {
  napi_value object = js::object(env, {{"weights", count(env, memory.weights)},
                                       {"kvCache", count(env, memory.kv_cache)},
                                       {"crossCache", count(env, memory.cross_cache)},
                                       {"activations", count(env, memory.activations)},
                                       {"images", count(env, memory.images)},
                                       {"total", count(env, memory.total())}});
  if (object && free) napi_set_named_property(env, object, "free", count(env, *free));
  return object;
}

napi_value vision_to_js(napi_env env, const VisionConfig& vision) {
  return js::object(env, {{"hiddenSize", js::number(env, vision.hidden)},
                          {"layers", js::number(env, vision.layers)},
                          {"heads", js::number(env, vision.heads)},
                          {"headDim", js::number(env, vision.head_dim)},
                          {"patchSize", js::number(env, vision.patch)},
                          {"norm", js::string(env, vision.rms_norm ? "rms_norm" : "layer_norm")}});
}

napi_value parameters_to_js(napi_env env, const ParameterCounts& parameters) {
  return js::object(env, {{"encoder", count(env, parameters.encoder)},
                          {"projector", count(env, parameters.projector)},
                          {"decoder", count(env, parameters.decoder)},
                          {"crossAttention", count(env, parameters.cross_attention)},
                          {"total", count(env, parameters.encoder + parameters.projector + parameters.decoder + parameters.cross_attention)}});
}

const char* name_of(Family family) {
  switch (family) {
    case Family::D: return "NVLM-D";
    case Family::X: return "NVLM-X";
    case Family::H: return "NVLM-H";
  }
  return "";
}

napi_value integers(napi_env env, const std::vector<int>& values) {
  js::Array list(env);
  for (const int value : values) list.add(js::number(env, value));
  return list.value();
}

}  // namespace

napi_value description_to_js(napi_env env, const Description& description, bool with_program) {
  const ModelConfig& config = description.config;
  const LoadOptions& options = description.options;
  const bool no_system = !config.system_message || config.system_message->empty();
  const uint64_t available = free_memory();
  napi_value object = js::object(env, {{"architecture", js::string(env, name_of(config.family))},
                                       {"dtype", js::string(env, config.dtype)},
                                       {"tileSize", js::number(env, config.tile_size)},
                                       {"tokensPerTile", js::number(env, config.tokens_per_tile())},
                                       {"minTiles", js::number(env, config.min_tiles)},
                                       {"maxTiles", js::number(env, options.max_tiles)},
                                       {"dynamicTiles", js::boolean(env, config.dynamic_tiles)},
                                       {"useThumbnail", js::boolean(env, config.use_thumbnail)},
                                       {"systemMessage", no_system ? js::null(env) : js::string(env, *config.system_message)},
                                       {"vocabSize", js::number(env, config.decoder.vocab)},
                                       {"contextLength", js::number(env, options.context_length)},
                                       {"maxSequences", js::number(env, options.max_sequences)},
                                       {"maxImages", js::number(env, options.max_images)},
                                       {"hiddenSize", js::number(env, config.decoder.hidden)},
                                       {"layers", js::number(env, config.decoder.layers)},
                                       {"crossLayers", integers(env, config.cross.layers)},
                                       {"heads", js::number(env, config.decoder.heads)},
                                       {"kvHeads", js::number(env, config.decoder.kv_heads)},
                                       {"headDim", js::number(env, config.decoder.head_dim)},
                                       {"vision", vision_to_js(env, config.vision)},
                                       {"parameters", parameters_to_js(env, description.parameters)},
                                       {"memory", memory_to_js(env, description.memory, &available)},
                                       {"device", js::string(env, options.device)},
                                       {"instructionSet", js::string(env, description.instruction_set)},
                                       {"threads", js::number(env, options.threads)}});
  if (object && with_program) {
    js::Array lines(env);
    for (const std::string& line : description.program) lines.add(js::string(env, line));
    napi_set_named_property(env, object, "program", lines.value());
  }
  return object;
}

napi_value stats_to_js(napi_env env, const Stats& stats) {
  return js::object(env, {{"memory", memory_to_js(env, stats.memory, nullptr)},
                          {"activeRequests", js::number(env, stats.active_requests)},
                          {"images", js::number(env, stats.images)},
                          {"encodedTiles", count(env, stats.encoded_tiles)},
                          {"crossProjections", count(env, stats.cross_projections)}});
}

napi_value event_to_js(napi_env env, const Event& event) {
  const auto type = [&](const char* name) { return js::string(env, name); };
  napi_value request = count(env, event.request);
  switch (event.type) {
    case Event::Type::text:
      return js::object(env, {{"type", type("text")},
                              {"request", request},
                              {"text", js::string(env, event.text)},
                              {"ids", js::int32_array(env, event.ids)},
                              {"logprobs", logprobs_to_js(env, event.logprobs)}});
    case Event::Type::finish:
      return js::object(env, {{"type", type("finish")},
                              {"request", request},
                              {"reason", js::string(env, event.code)},
                              {"stopString", js::number(env, event.stop_string)},
                              {"generated", js::number(env, event.generated)},
                              {"timings", timings_to_js(env, event.timings)}});
    case Event::Type::encoded:
      return js::object(env, {{"type", type("encoded")},
                              {"request", request},
                              {"handle", count(env, event.handle)},
                              {"bytes", count(env, event.bytes)},
                              {"tiles", js::number(env, event.tiles)},
                              {"timings", timings_to_js(env, event.timings)}});
    case Event::Type::pixels_free: return js::object(env, {{"type", type("pixels-free")}, {"request", request}});
    case Event::Type::progress:
      return js::object(env, {{"type", type("progress")}, {"loaded", count(env, event.loaded)}, {"total", count(env, event.total)}});
    case Event::Type::loaded: return js::object(env, {{"type", type("loaded")}, {"description", description_to_js(env, *event.description, false)}});
    case Event::Type::error:
      return js::object(env, {{"type", type("error")}, {"request", request}, {"code", js::string(env, event.code)}, {"message", js::string(env, event.text)}});
    case Event::Type::log:
      return js::object(env, {{"type", type("log")}, {"level", js::string(env, event.code)}, {"message", js::string(env, event.text)}});
    case Event::Type::closed: return js::object(env, {{"type", type("closed")}});
  }
  return nullptr;
}

}  // namespace nvlm
