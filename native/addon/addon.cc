// What `require` of nvlm.node returns: NativeAddon of lib/engine/native-types.ts.
//
// The only state per environment is the engines themselves, each of which has its own cleanup hook
// (engine_object.h), and no static one at all: several environments (worker threads) may load this library at once.
#include <napi.h>

#include "addon/engine_object.h"
#include "addon/exports.h"
#include "addon/js.h"

namespace nvlm {
namespace {

constexpr int kInterfaceVersion = 2;  // as in lib/engine/native.ts

Napi::Object init(Napi::Env env, Napi::Object object) {
  object.Set("interfaceVersion", kInterfaceVersion);
  object.Set("inspect", js::function<exports::inspect>(env, "inspect"));
  object.Set("createEngine", js::function<EngineObject::create>(env, "createEngine"));
  object.Set("cutTiles", js::function<exports::cut_tiles>(env, "cutTiles"));
  object.Set("devices", js::function<exports::devices>(env, "devices"));
  return object;
}

NODE_API_MODULE(nvlm, init)

}  // namespace
}  // namespace nvlm
