// NativeEngine of lib/engine/native-types.ts: one Engine, its events, and what of JavaScript it keeps alive.
//
// Who owns what: this object belongs to its JS object and to the bridge, and is deleted when both are gone. (So it is
// not a Napi::ObjectWrap, which dies with its JS object; and what JavaScript gets is a plain tagged object without a
// constructor that a program could call.) The engine's thread calls Bridge::push alone; everything else here runs on
// the JS thread. The engine is joined in one of two places: when its `closed` event arrives (the thread is then at its
// very end, so that nothing waits), or in the environment's cleanup hook, before the environment frees anything.
#pragma once

#include <napi.h>

#include <memory>
#include <unordered_map>
#include <vector>

#include "addon/bridge.h"
#include "engine/engine.h"

namespace nvlm {

class EngineObject final : private Bridge::Receiver {
 public:
  // createEngine(options, onEvents) of the addon.
  static Napi::Value create(const Napi::CallbackInfo& info);

 private:
  explicit EngineObject(Napi::Function on_events) : on_events_(Napi::Persistent(on_events)), bridge_(*this) {}
  ~EngineObject() = default;
  static EngineObject* unwrap(Napi::Value value);

  // Methods of the JS object.
  Napi::Value set_vocabulary(const Napi::CallbackInfo& info);
  Napi::Value submit(const Napi::CallbackInfo& info);
  Napi::Value encode(const Napi::CallbackInfo& info);
  Napi::Value release(const Napi::CallbackInfo& info);
  Napi::Value cancel(const Napi::CallbackInfo& info);
  Napi::Value stats(const Napi::CallbackInfo& info);
  Napi::Value ref(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);
  using Method = Napi::Value (EngineObject::*)(const Napi::CallbackInfo&);
  template <Method method>
  static Napi::Value call(const Napi::CallbackInfo& info);
  template <Method method>
  static Napi::PropertyDescriptor property(Napi::Env env, const char* name);

  void deliver(Napi::Env env, std::vector<Event> events) override;
  void bridge_gone() override { disown(); }

  void begin_close();
  // The engine has ended, or never began: releases everything that lives in the environment.
  void abandon(Napi::Env env);
  void let_go(Napi::Env env);
  void pin(uint64_t request, const std::vector<Napi::Object>& arrays);
  void report_memory(Napi::Env env, uint64_t handle, uint64_t bytes);
  void unreport_memory(Napi::Env env, uint64_t handle);
  void disown();  // one owner less
  static void on_environment_ends(EngineObject* self);
  static void on_collected(napi_env env, void* self, void* hint);

  Napi::FunctionReference on_events_;
  int owners_ = 0;
  bool closing_ = false;  // close() was called, or the JS object is gone
  Napi::Env::CleanupHook<void (*)(EngineObject*), EngineObject> hook_;
  // Typed arrays whose bytes the engine may still read, by request.
  std::unordered_map<uint64_t, std::vector<Napi::ObjectReference>> pinned_;
  // Bytes of encoded images, by handle, that V8 counts: a few bytes of handle keep megabytes.
  std::unordered_map<uint64_t, int64_t> reported_;
  Bridge bridge_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace nvlm
