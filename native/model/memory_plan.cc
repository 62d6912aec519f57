#include "model/memory_plan.h"

#include "model/blueprint.h"
#include "model/device.h"

namespace nvlm {
namespace {

// Most cross keys of one image. A tag is as many tokens as it has bytes at most (byte-level vocabulary).
int64_t most_cross_keys(const ModelConfig& c, int max_tiles) {
  constexpr int kLongestTag = sizeof("<tile_12>") - 1;
  const TileRange tiles = tiles_in(c.family.cross_attended, max_tiles + 1);
  const int64_t keys_per_tile = c.tokens_per_tile() + (c.family.tags_are_attended ? kLongestTag : 0);
  return (tiles.end - tiles.begin) * keys_per_tile;
}

}  // namespace

nvlm_kv_cache plan_self_cache(const ModelConfig& config, const LoadOptions& options, nvlm_dtype activations) {
  const DecoderConfig& c = config.decoder;
  const int64_t pages = options.max_sequences * nvlm_pages_for(options.context_length);
  return {nullptr, c.layers, static_cast<int32_t>(pages), c.kv_heads, c.head_dim, activations};
}

nvlm_kv_cache plan_cross_cache(const ModelConfig& config, const LoadOptions& options, nvlm_dtype activations) {
  const CrossConfig& c = config.cross;
  if (c.layers.empty()) return {};
  const int64_t pages = static_cast<int64_t>(options.max_sequences) * options.max_images *
                        nvlm_pages_for(most_cross_keys(config, options.max_tiles));
  return {nullptr,    static_cast<int32_t>(c.layers.size()), static_cast<int32_t>(pages), c.kv_heads, c.head_dim,
          activations};
}

MemoryUse plan_memory(const Blueprint& blueprint, const Device& device) {
  const LoadOptions& options = blueprint.options;
  MemoryUse plan;
  plan.weights = blueprint.weights.packed_bytes(device);
  plan.kv_cache = nvlm_kv_cache_bytes(&blueprint.self_kv);
  plan.cross_cache = nvlm_kv_cache_bytes(&blueprint.cross_kv);
  plan.activations = blueprint.arena_bytes();
  for (const Program* program : blueprint.programs()) {
    if (program->records.empty()) continue;
    const nvlm_program view = program->view(blueprint.weights, nullptr, blueprint.self_kv, blueprint.cross_kv);
    plan.activations += device.backend.plan_bytes(device.handle, &view);
  }
  plan.images = static_cast<uint64_t>(options.max_images) * blueprint.image_bytes(options.max_tiles + 1);
  return plan;
}

}  // namespace nvlm
