// The addon's functions that need no engine: one source file each, of the same name.
#pragma once

#include <node_api.h>

namespace nvlm {

napi_value inspect(napi_env env, napi_callback_info info);    // inspect(options, done)
napi_value cut_tiles_js(napi_env env, napi_callback_info info);  // cutTiles(image, tileSize, thumbnail, done)
napi_value devices(napi_env env, napi_callback_info info);    // devices()

}  // namespace nvlm
