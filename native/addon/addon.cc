// What `require` of nvlm.node answers: NativeAddon of lib/engine/native-types.ts.
//
// There is no state per environment beside the engines themselves, each of which has its own cleanup hook
// (engine_object.h), and no static one at all: several environments (worker threads) may load this library at once.
#include <napi.h>

#include "addon/engine_object.h"
#include "addon/functions.h"
#include "addon/js.h"

namespace nvlm {
namespace {

constexpr int kInterfaceVersion = 2;  // as in lib/engine/native.ts

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("interfaceVersion", kInterfaceVersion);
  exports.Set("inspect", js::function<inspect>(env, "inspect"));
  exports.Set("createEngine", js::function<EngineObject::create>(env, "createEngine"));
  exports.Set("cutTiles", js::function<cut_tiles_js>(env, "cutTiles"));
  exports.Set("devices", js::function<devices>(env, "devices"));
  return exports;
}

NODE_API_MODULE(nvlm, init)

}  // namespace
}  // namespace nvlm
