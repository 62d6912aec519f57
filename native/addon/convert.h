// Between the objects of lib/engine/native-types.ts and the engine's structs, field by field. Every size is checked
// here, since the engine indexes memory with it.
#pragma once

#include <napi.h>

#include <vector>

#include "addon/js.h"
#include "engine/engine.h"

namespace nvlm {

// Each reads as far as it can and leaves the first mismatch in `failure`.
LoadOptions read_load_options(Napi::Value value, js::Failure& failure);
// Adds the typed array of an image's pixels to `pinned`; the caller keeps it alive until the engine is done with it.
ImageInput read_image(Napi::Value value, std::vector<Napi::Object>& pinned, js::Failure& failure);
Request read_request(Napi::Value value, std::vector<Napi::Object>& pinned, js::Failure& failure);
std::vector<std::vector<int32_t>> read_tile_tags(const std::vector<int32_t>& ids, const std::vector<int32_t>& lengths,
                                                 js::Failure& failure);

// with_program: the decoder's program too.
Napi::Object description_to_js(Napi::Env env, const Description& description, bool with_program);
Napi::Object stats_to_js(Napi::Env env, const Stats& stats);
Napi::Object event_to_js(Napi::Env env, const Event& event);

}  // namespace nvlm
