// inspect(options, done): config and tensor headers only, read on libuv's pool.
#include "addon/async_task.h"
#include "addon/convert.h"
#include "addon/exports.h"

namespace nvlm {
namespace {

class InspectTask final : public AsyncTask {
 public:
  InspectTask(Napi::Value options, Napi::Function done)
      : AsyncTask(done, "nvlm:inspect"), options_(read_load_options(options, failure_)) {}

 private:
  void work() override { description_ = Model::describe(options_); }
  Napi::Value result(Napi::Env env) override { return description_to_js(env, description_, true); }

  LoadOptions options_;
  Description description_;
};

}  // namespace

Napi::Value exports::inspect(const Napi::CallbackInfo& info) {
  if (info[1].IsFunction()) (new InspectTask(info[0], info[1].As<Napi::Function>()))->Queue();
  return info.Env().Undefined();
}

}  // namespace nvlm
