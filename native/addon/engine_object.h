// NativeEngine of lib/native-types.ts: one Engine, its events, and the pixels it reads.
//
// Who owns what: this object belongs to its JS object and to the bridge, and is deleted when both are gone. The engine's thread calls Bridge::push alone;
// everything else here runs on the JS thread. The engine is joined in one of two places: when its `closed` event arrives (the thread is then
// at its very end, so that nothing waits), or in the environment's cleanup hook, before the environment frees anything.
#pragma once

#include <node_api.h>

#include <memory>
#include <unordered_map>
#include <vector>

#include "addon/bridge.h"
#include "addon/js.h"
#include "engine/engine.h"

namespace nvlm {

class EngineObject final : private Bridge::Receiver {
 public:
  // createEngine(options, onEvents) of the addon.
  static napi_value create(napi_env env, napi_callback_info info);

 private:
  EngineObject(napi_env env, napi_value on_events);
  ~EngineObject() = default;
  static EngineObject* unwrap(napi_env env, napi_value object);

  // Methods of the JS object.
  napi_value set_vocabulary(size_t argc, napi_value* argv);
  napi_value submit(size_t argc, napi_value* argv);
  napi_value encode(size_t argc, napi_value* argv);
  napi_value release(size_t argc, napi_value* argv);
  napi_value cancel(size_t argc, napi_value* argv);
  napi_value stats(size_t argc, napi_value* argv);
  napi_value ref(size_t argc, napi_value* argv);
  napi_value close(size_t argc, napi_value* argv);
  template <napi_value (EngineObject::*method)(size_t, napi_value*)>
  static napi_value call(napi_env env, napi_callback_info info);

  void deliver(napi_env env, std::vector<Event> events) override;
  void bridge_gone(napi_env env) override;

  void begin_close();
  void abandon();  // the engine has ended, or never began: lets go of everything that lives in the environment
  void pin(uint64_t request, const std::vector<napi_value>& arrays);
  void unpin(uint64_t request);
  void unpin_all();
  void disown();  // one owner less
  static void on_environment_ends(void* self);
  static void on_collected(napi_env env, void* self, void* hint);

  napi_env env_;
  napi_ref on_events_ = nullptr;
  int owners_ = 0;
  bool closing_ = false;  // close() was called, or the JS object is gone
  bool hooked_ = false;
  std::unordered_map<uint64_t, std::vector<napi_ref>> pinned_;  // typed arrays whose bytes the engine may still read
  Bridge bridge_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace nvlm
