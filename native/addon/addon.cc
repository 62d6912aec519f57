// What `require` of nvlm.node answers: NativeAddon of lib/native-types.ts.
//
// There is no state per environment beside the engines themselves, each of which has its own cleanup hook (engine_object.h), and no static one at all:
// several environments (worker threads) may load this library at once.
#include <node_api.h>

#include "addon/engine_object.h"
#include "addon/functions.h"
#include "addon/js.h"

namespace {

constexpr double kInterfaceVersion = 1;  // as in lib/native.ts

}  // namespace

NAPI_MODULE_INIT() {
  napi_value version = nvlm::js::number(env, kInterfaceVersion);
  const napi_property_descriptor table[] = {
      {"interfaceVersion", nullptr, nullptr, nullptr, nullptr, version, napi_enumerable, nullptr},
      {"inspect", nullptr, nvlm::inspect, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"createEngine", nullptr, nvlm::EngineObject::create, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"cutTiles", nullptr, nvlm::cut_tiles_js, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"devices", nullptr, nvlm::devices, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
  };
  napi_define_properties(env, exports, sizeof table / sizeof *table, table);
  return exports;
}
