#include "addon/engine_object.h"

#include <exception>
#include <string>
#include <utility>

#include "addon/convert.h"
#include "addon/js.h"

namespace nvlm {
namespace {

// Methods check it before they touch what is wrapped: JavaScript can call them on any object.
constexpr napi_type_tag kTag = {0x6e766c6d2d656e67, 0x9b1d5a0c7e3f4281};

js::Failure closed_failure() { return {"closed", "The model was closed. Load it again to go on asking."}; }

// False when it is not an id.
bool as_id(Napi::Value value, uint64_t* id) {
  if (!value.IsNumber()) return false;
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= 0 && number <= js::kMostSafeInteger)) return false;
  *id = static_cast<uint64_t>(number);
  return true;
}

}  // namespace

// ---- Making one ----

Napi::Value EngineObject::create(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  js::Failure failure;
  LoadOptions options = read_load_options(info[0], failure);
  if (!failure && !info[1].IsFunction()) failure = js::mismatch("Expected a function for onEvents.");
  if (failure) return js::to_js(env, failure);

  Napi::Object object = Napi::Object::New(env);
  object.TypeTag(&kTag);
  object.DefineProperties({
      property<&EngineObject::set_vocabulary>(env, "setVocabulary"),
      property<&EngineObject::submit>(env, "submit"),
      property<&EngineObject::encode>(env, "encode"),
      property<&EngineObject::release>(env, "release"),
      property<&EngineObject::cancel>(env, "cancel"),
      property<&EngineObject::stats>(env, "stats"),
      property<&EngineObject::ref>(env, "ref"),
      property<&EngineObject::close>(env, "close"),
  });

  auto* self = new EngineObject(info[1].As<Napi::Function>());
  if (napi_wrap(env, object, self, on_collected, nullptr, nullptr) != napi_ok) {  // the environment is ending
    delete self;
    return Napi::Value();
  }
  self->owners_ = 1;
  if (!self->bridge_.open(env))
    return js::to_js(
        env,
        js::Failure{
            "internal",
            "The environment refused a thread-safe function. Load the model in an environment that is not ending."});
  self->owners_ = 2;
  // After the bridge: hooks run last in, first out, and this one must run before that of the thread-safe function.
  self->hook_ = Napi::Env(env).AddCleanupHook(on_environment_ends, self);
  try {
    self->engine_ = std::make_unique<Engine>(
        std::move(options), [bridge = &self->bridge_](Event event) { bridge->push(std::move(event)); });
  } catch (const std::exception& error) {
    self->abandon(env);
    return js::to_js(
        env, js::Failure{"internal", std::string("The system refused a thread for the engine (") + error.what() +
                                         "). Close other programs, or raise the limit of threads."});
  }
  return object;
}

template <EngineObject::Method method>
Napi::PropertyDescriptor EngineObject::property(Napi::Env env, const char* name) {
  return Napi::PropertyDescriptor::Value(name, js::function<call<method>>(env, name));
}

template <EngineObject::Method method>
Napi::Value EngineObject::call(const Napi::CallbackInfo& info) {
  EngineObject* self = unwrap(info.This());
  if (self && self->engine_) return (self->*method)(info);
  return js::to_js(
      info.Env(),
      js::Failure{"internal",
                  "A method of the engine was called on another object. Call it on what createEngine returned."});
}

EngineObject* EngineObject::unwrap(Napi::Value value) {
  void* self = nullptr;
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kTag) ||
      napi_unwrap(value.Env(), value, &self) != napi_ok)
    return nullptr;
  return static_cast<EngineObject*>(self);
}

// ---- Methods ----

Napi::Value EngineObject::set_vocabulary(const Napi::CallbackInfo& info) {
  Napi::Uint8Array bytes;
  std::vector<int32_t> offsets;
  bool good = js::as_bytes(info[0], &bytes) && js::as_int32(info[1], &offsets) && !offsets.empty() && offsets[0] >= 0;
  for (size_t i = 1; good && i < offsets.size(); ++i) good = offsets[i] >= offsets[i - 1];
  const size_t length = bytes.Data() ? bytes.ElementLength() : 0;
  if (!good || static_cast<size_t>(offsets.back()) > length) {
    return js::to_js(info.Env(), js::mismatch("The vocabulary's offsets do not ascend inside its " +
                                              std::to_string(length) + " bytes."));
  }
  if (closing_) return js::to_js(info.Env(), closed_failure());
  engine_->set_vocabulary(std::string(reinterpret_cast<const char*>(bytes.Data()), length), std::move(offsets));
  return info.Env().Null();
}

Napi::Value EngineObject::submit(const Napi::CallbackInfo& info) {
  js::Failure failure;
  std::vector<Napi::Object> arrays;
  Request request = read_request(info[0], arrays, failure);
  if (failure) return js::to_js(info.Env(), failure);
  const uint64_t id = closing_ ? 0 : engine_->submit(std::move(request));
  if (id == 0) return js::to_js(info.Env(), closed_failure());
  pin(id, arrays);
  return Napi::Value::From(info.Env(), id);
}

Napi::Value EngineObject::encode(const Napi::CallbackInfo& info) {
  js::Failure failure;
  std::vector<Napi::Object> arrays;
  const ImageInput image = read_image(info[0], arrays, failure);
  std::vector<int32_t> ids, lengths;
  const bool typed = js::as_int32(info[1], &ids) && js::as_int32(info[2], &lengths);
  if (!failure && (!typed || image.handle != 0))
    failure = js::mismatch("Expected pixels and two Int32Arrays for encode.");
  std::vector<std::vector<int32_t>> tags = read_tile_tags(ids, lengths, failure);
  if (failure) return js::to_js(info.Env(), failure);
  const uint64_t id = closing_ ? 0 : engine_->encode(image, std::move(tags));
  if (id == 0) return js::to_js(info.Env(), closed_failure());
  pin(id, arrays);
  return Napi::Value::From(info.Env(), id);
}

Napi::Value EngineObject::release(const Napi::CallbackInfo& info) {
  uint64_t handle = 0;
  if (as_id(info[0], &handle)) {
    unreport_memory(info.Env(), handle);
    engine_->release(handle);
  }
  return info.Env().Undefined();
}

Napi::Value EngineObject::cancel(const Napi::CallbackInfo& info) {
  uint64_t request = 0;
  if (as_id(info[0], &request)) engine_->cancel(request);
  return info.Env().Undefined();
}

Napi::Value EngineObject::stats(const Napi::CallbackInfo& info) { return stats_to_js(info.Env(), engine_->stats()); }

Napi::Value EngineObject::ref(const Napi::CallbackInfo& info) {
  const bool keep = info[0].IsBoolean() && info[0].As<Napi::Boolean>().Value();
  if (!closing_) bridge_.hold(info.Env(), keep);
  return info.Env().Undefined();
}

Napi::Value EngineObject::close(const Napi::CallbackInfo& info) {
  if (!closing_) {
    bridge_.hold(info.Env(), true);  // a caller that waits for `closed` gets it
    begin_close();
  }
  return info.Env().Undefined();
}

// ---- Events ----

void EngineObject::deliver(Napi::Env env, std::vector<Event> events) {
  Napi::Array list = Napi::Array::New(env);
  bool closed = false;
  for (const Event& event : events) {
    switch (event.type) {
      case Event::Type::encoded: report_memory(env, event.handle, event.bytes); [[fallthrough]];
      case Event::Type::pixels_free:
      case Event::Type::finish:
      case Event::Type::error: pinned_.erase(event.request); break;
      case Event::Type::closed: closed = true; break;
      default: break;
    }
    list.Set(list.Length(), event_to_js(env, event));
  }
  Napi::Function on_events = on_events_.Value();
  if (closed) {
    engine_->stop();
    abandon(env);
  }
  // Last: the function may end the process, or run the event loop's other callbacks. Node would only warn of what it
  // throws, which is a mistake of ours or of the program's: an uncaught exception, as from any other callback.
  on_events.Call({list});
  napi_value thrown = nullptr;
  if (env.IsExceptionPending() && napi_get_and_clear_last_exception(env, &thrown) == napi_ok)
    napi_fatal_exception(env, thrown);
}

void EngineObject::pin(uint64_t request, const std::vector<Napi::Object>& arrays) {
  for (const Napi::Object& array : arrays) pinned_[request].push_back(Napi::Persistent(array));
}

void EngineObject::report_memory(Napi::Env env, uint64_t handle, uint64_t bytes) {
  reported_[handle] = static_cast<int64_t>(bytes);
  Napi::MemoryManagement::AdjustExternalMemory(env, static_cast<int64_t>(bytes));
}

void EngineObject::unreport_memory(Napi::Env env, uint64_t handle) {
  const auto found = reported_.find(handle);
  if (found == reported_.end()) return;
  Napi::MemoryManagement::AdjustExternalMemory(env, -found->second);
  reported_.erase(found);
}

// ---- Ends ----

void EngineObject::begin_close() {
  closing_ = true;
  engine_->begin_stop();
}

void EngineObject::let_go(Napi::Env env) {
  pinned_.clear();
  while (!reported_.empty()) unreport_memory(env, reported_.begin()->first);
  on_events_.Reset();
}

void EngineObject::abandon(Napi::Env env) {
  let_go(env);
  if (!hook_.IsEmpty()) hook_.Remove(env);
  bridge_.close(true);
}

void EngineObject::on_environment_ends(EngineObject* self) {
  self->hook_ = {};  // it has run; there is nothing to remove
  self->closing_ = true;
  self->bridge_.close(false);
  self->engine_->stop();
  self->let_go(self->on_events_.Env());
}

void EngineObject::on_collected(napi_env, void* data, void*) {
  auto* self = static_cast<EngineObject*>(data);
  // No call can come any more. The thread ends by itself; `closed` finds the bridge, which still owns this.
  if (!self->closing_ && self->engine_) self->begin_close();
  self->disown();
}

void EngineObject::disown() {
  if (--owners_ == 0) delete this;
}

}  // namespace nvlm
