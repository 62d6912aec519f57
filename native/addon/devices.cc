// devices(cudaLibrary, done): what a model could run on here. Off the JS thread, since opening a driver can take a
// while.
#include <string>
#include <vector>

#include "addon/async_task.h"
#include "addon/exports.h"
#include "model/backends.h"

namespace nvlm {
namespace {

Napi::Object device_to_js(Napi::Env env, const DeviceEntry& entry) {
  const nvlm_device_description& d = entry.description;
  const auto version = [](int major, int minor) {
    return major ? std::to_string(major) + "." + std::to_string(minor) : std::string();
  };
  Napi::Object object = Napi::Object::New(env);
  object.Set("id", entry.id);
  object.Set("name", js::or_null(env, d.name));
  object.Set("available", d.available != 0);
  object.Set("reason", js::or_null(env, d.reason));
  object.Set("memoryFree", d.memory_free);
  object.Set("memoryTotal", d.memory_total);
  object.Set("computeCapability", js::or_null(env, version(d.compute_major, d.compute_minor)));
  object.Set("driver", js::or_null(env, version(d.driver / 1000, d.driver % 1000 / 10)));
  object.Set("instructionSet", js::or_null(env, entry.instruction_set));
  object.Set("threads", entry.threads);
  return object;
}

class DevicesTask final : public AsyncTask {
 public:
  DevicesTask(Napi::Value library, Napi::Function done) : AsyncTask(done, "nvlm:devices") {
    if (library.IsString()) {
      library_ = library.As<Napi::String>().Utf8Value();
    } else {
      failure_ = js::mismatch("Expected a string for cudaLibrary.");
    }
  }

 private:
  void work() override { entries_ = list_devices(library_); }
  Napi::Value result(Napi::Env env) override {
    Napi::Array list = Napi::Array::New(env);
    for (const DeviceEntry& entry : entries_) list.Set(list.Length(), device_to_js(env, entry));
    return list;
  }

  std::string library_;
  std::vector<DeviceEntry> entries_;
};

}  // namespace

Napi::Value exports::devices(const Napi::CallbackInfo& info) {
  if (info[1].IsFunction()) (new DevicesTask(info[0], info[1].As<Napi::Function>()))->Queue();
  return info.Env().Undefined();
}

}  // namespace nvlm
