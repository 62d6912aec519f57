#include "addon/engine_object.h"

#include <exception>
#include <string>
#include <utility>

#include "addon/convert.h"

namespace nvlm {
namespace {

// Methods check it before they touch what is wrapped: JavaScript can call them on any object.
constexpr napi_type_tag kTag = {0x6e766c6d2d656e67, 0x9b1d5a0c7e3f4281};

js::Failure closed_failure() { return {"closed", "The model was closed. Load it again to go on asking."}; }

}  // namespace

// ---- Making one ----

EngineObject::EngineObject(napi_env env, napi_value on_events) : env_(env), bridge_(*this) { napi_create_reference(env, on_events, 1, &on_events_); }

napi_value EngineObject::create(napi_env env, napi_callback_info info) {
  size_t argc = 2;
  napi_value argv[2] = {nullptr, nullptr};
  napi_get_cb_info(env, info, &argc, argv, nullptr, nullptr);
  js::Failure failure;
  LoadOptions options = read_load_options(env, argv[0], failure);
  if (!failure && !js::is_function(env, argv[1])) failure = {"internal", "Expected a function for onEvents. Install library and addon of the same version."};
  if (failure) return js::failure(env, failure);

  const napi_property_descriptor methods[] = {
      {"setVocabulary", nullptr, call<&EngineObject::set_vocabulary>, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"submit", nullptr, call<&EngineObject::submit>, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"encode", nullptr, call<&EngineObject::encode>, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"release", nullptr, call<&EngineObject::release>, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"cancel", nullptr, call<&EngineObject::cancel>, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"stats", nullptr, call<&EngineObject::stats>, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"ref", nullptr, call<&EngineObject::ref>, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"close", nullptr, call<&EngineObject::close>, nullptr, nullptr, nullptr, napi_default, nullptr},
  };
  napi_value object = nullptr;
  if (napi_create_object(env, &object) != napi_ok || napi_type_tag_object(env, object, &kTag) != napi_ok ||
      napi_define_properties(env, object, sizeof methods / sizeof *methods, methods) != napi_ok) {
    return nullptr;  // the environment is ending
  }

  auto* self = new EngineObject(env, argv[1]);
  if (napi_wrap(env, object, self, on_collected, nullptr, nullptr) != napi_ok) {
    napi_delete_reference(env, self->on_events_);
    delete self;
    return nullptr;
  }
  self->owners_ = 1;
  if (!self->bridge_.open(env)) return js::failure(env, {"internal", "The environment refused a thread-safe function. Load the model in an environment that is not ending."});
  self->owners_ = 2;
  // After the bridge: hooks run last in, first out, and this one must run before that of the thread-safe function.
  self->hooked_ = napi_add_env_cleanup_hook(env, on_environment_ends, self) == napi_ok;
  Bridge* bridge = &self->bridge_;
  try {
    self->engine_ = std::make_unique<Engine>(std::move(options), [bridge](Event event) { bridge->push(std::move(event)); });
  } catch (const std::exception& error) {
    self->abandon();
    return js::failure(env, {"internal", std::string("The system refused a thread for the engine (") + error.what() + "). Close other programs, or raise the limit of threads."});
  }
  return object;
}

EngineObject* EngineObject::unwrap(napi_env env, napi_value object) {
  bool tagged = false;
  void* self = nullptr;
  if (napi_check_object_type_tag(env, object, &kTag, &tagged) != napi_ok || !tagged || napi_unwrap(env, object, &self) != napi_ok) return nullptr;
  return static_cast<EngineObject*>(self);
}

template <napi_value (EngineObject::*method)(size_t, napi_value*)>
napi_value EngineObject::call(napi_env env, napi_callback_info info) {
  size_t argc = 3;
  napi_value argv[3] = {nullptr, nullptr, nullptr};
  napi_value receiver = nullptr;
  napi_get_cb_info(env, info, &argc, argv, &receiver, nullptr);
  EngineObject* self = unwrap(env, receiver);
  if (!self || !self->engine_) return js::failure(env, {"internal", "A method of the engine was called on another object. Call it on what createEngine answered."});
  try {
    return (self->*method)(argc, argv);
  } catch (const std::exception& error) {  // no exception may cross into the environment; only a refused allocation can come here
    return js::failure(env, {"out-of-memory", std::string("The system refused memory for this call (") + error.what() + "). Close other programs, or send less at once."});
  }
}

// ---- Methods ----

napi_value EngineObject::set_vocabulary(size_t, napi_value* argv) {
  const uint8_t* data = nullptr;
  size_t length = 0;
  std::vector<int32_t> offsets;
  bool good = argv[0] && argv[1] && js::as_bytes(env_, argv[0], &data, &length) && js::as_int32(env_, argv[1], &offsets) && !offsets.empty() && offsets[0] >= 0;
  for (size_t i = 1; good && i < offsets.size(); ++i) good = offsets[i] >= offsets[i - 1];
  if (!good || static_cast<size_t>(offsets.back()) > length) {
    return js::failure(env_, {"internal", "The vocabulary's offsets do not ascend inside its " + std::to_string(length) + " bytes. Install library and addon of the same version."});
  }
  if (closing_) return js::failure(env_, closed_failure());
  engine_->set_vocabulary(std::string(reinterpret_cast<const char*>(data), length), std::move(offsets));
  return js::null(env_);
}

napi_value EngineObject::submit(size_t, napi_value* argv) {
  js::Failure failure;
  std::vector<napi_value> arrays;
  Request request = read_request(env_, argv[0], arrays, failure);
  if (!failure && closing_) failure = closed_failure();
  if (failure) return js::failure(env_, failure);
  const uint64_t id = engine_->submit(std::move(request));
  if (id == 0) return js::failure(env_, closed_failure());
  pin(id, arrays);
  return js::number(env_, static_cast<double>(id));
}

napi_value EngineObject::encode(size_t, napi_value* argv) {
  js::Failure failure;
  std::vector<napi_value> arrays;
  const ImageInput image = read_image(env_, argv[0], arrays, failure);
  std::vector<int32_t> ids, lengths;
  const bool typed = argv[1] && argv[2] && js::as_int32(env_, argv[1], &ids) && js::as_int32(env_, argv[2], &lengths);
  if (!failure && (!typed || image.handle != 0)) failure = {"internal", "Expected pixels and two Int32Arrays for encode. Install library and addon of the same version."};
  std::vector<std::vector<int32_t>> tags = read_tile_tags(ids, lengths, failure);
  if (!failure && closing_) failure = closed_failure();
  if (failure) return js::failure(env_, failure);
  const uint64_t id = engine_->encode(image, std::move(tags));
  if (id == 0) return js::failure(env_, closed_failure());
  pin(id, arrays);
  return js::number(env_, static_cast<double>(id));
}

napi_value EngineObject::release(size_t, napi_value* argv) {
  double handle = 0;
  if (argv[0] && napi_get_value_double(env_, argv[0], &handle) == napi_ok && handle >= 1 && handle < 9007199254740992.0) engine_->release(static_cast<uint64_t>(handle));
  return js::undefined(env_);
}

napi_value EngineObject::cancel(size_t, napi_value* argv) {
  double request = -1;
  if (argv[0] && napi_get_value_double(env_, argv[0], &request) == napi_ok && request >= 0 && request < 9007199254740992.0) engine_->cancel(static_cast<uint64_t>(request));
  return js::undefined(env_);
}

napi_value EngineObject::stats(size_t, napi_value*) { return stats_to_js(env_, engine_->stats()); }

napi_value EngineObject::ref(size_t, napi_value* argv) {
  bool keep = false;
  if (argv[0]) napi_get_value_bool(env_, argv[0], &keep);
  if (!closing_) bridge_.hold(env_, keep);
  return js::undefined(env_);
}

napi_value EngineObject::close(size_t, napi_value*) {
  if (!closing_) {
    bridge_.hold(env_, true);  // whoever waits for `closed` gets it
    begin_close();
  }
  return js::undefined(env_);
}

// ---- Events ----

void EngineObject::deliver(napi_env env, std::vector<Event> events) {
  js::Array list(env);
  bool closed = false;
  for (const Event& event : events) {
    switch (event.type) {
      case Event::Type::pixels_free:
      case Event::Type::finish:
      case Event::Type::encoded:
      case Event::Type::error: unpin(event.request); break;
      case Event::Type::closed: closed = true; break;
      default: break;
    }
    list.add(event_to_js(env, event));
  }
  napi_value on_events = nullptr;
  napi_get_reference_value(env, on_events_, &on_events);
  if (closed) {
    engine_->stop();
    abandon();
  }
  // Last: the function may end the process, or run the event loop's other callbacks.
  if (on_events) js::call(env, on_events, {list.value()});
}

void EngineObject::pin(uint64_t request, const std::vector<napi_value>& arrays) {
  if (arrays.empty()) return;
  std::vector<napi_ref>& references = pinned_[request];
  for (napi_value array : arrays) {
    napi_ref reference = nullptr;
    if (napi_create_reference(env_, array, 1, &reference) == napi_ok) references.push_back(reference);
  }
}

void EngineObject::unpin(uint64_t request) {
  const auto found = pinned_.find(request);
  if (found == pinned_.end()) return;
  for (napi_ref reference : found->second) napi_delete_reference(env_, reference);
  pinned_.erase(found);
}

void EngineObject::unpin_all() {
  while (!pinned_.empty()) unpin(pinned_.begin()->first);
}

// ---- Ends ----

void EngineObject::begin_close() {
  closing_ = true;
  engine_->begin_stop();
}

void EngineObject::abandon() {
  unpin_all();
  napi_delete_reference(env_, std::exchange(on_events_, nullptr));
  if (std::exchange(hooked_, false)) napi_remove_env_cleanup_hook(env_, on_environment_ends, this);
  bridge_.close(true);
}

void EngineObject::on_environment_ends(void* data) {
  auto* self = static_cast<EngineObject*>(data);
  self->hooked_ = false;
  self->closing_ = true;
  self->bridge_.close(false);
  self->engine_->stop();
  self->unpin_all();
  if (self->on_events_) napi_delete_reference(self->env_, std::exchange(self->on_events_, nullptr));
}

void EngineObject::on_collected(napi_env, void* data, void*) {
  auto* self = static_cast<EngineObject*>(data);
  // Nobody can ask any more. The thread ends by itself; `closed` finds the bridge, which still owns this.
  if (!self->closing_ && self->engine_) self->begin_close();
  self->disown();
}

void EngineObject::bridge_gone(napi_env) { disown(); }

void EngineObject::disown() {
  if (--owners_ == 0) delete this;
}

}  // namespace nvlm
