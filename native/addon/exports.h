// The addon's functions that need no engine: one source file each, of the same name.
#pragma once

#include <napi.h>

namespace nvlm::exports {

Napi::Value inspect(const Napi::CallbackInfo& info);    // inspect(options, done)
Napi::Value cut_tiles(const Napi::CallbackInfo& info);  // cutTiles(image, tileSize, thumbnail, done)
Napi::Value devices(const Napi::CallbackInfo& info);    // devices(cudaLibrary, done)

}  // namespace nvlm::exports
