// inspect(options, done): config and tensor headers only, read on libuv's pool.
#include "addon/async_task.h"
#include "addon/convert.h"
#include "addon/functions.h"

namespace nvlm {
namespace {

class InspectTask final : public AsyncTask {
 public:
  InspectTask(napi_env env, napi_value options) { options_ = read_load_options(env, options, failure_); }

 private:
  void execute() override { description_ = Model::describe(options_); }
  napi_value result(napi_env env) override { return description_to_js(env, description_, true); }

  LoadOptions options_;
  Description description_;
};

}  // namespace

napi_value inspect(napi_env env, napi_callback_info info) {
  size_t argc = 2;
  napi_value argv[2] = {nullptr, nullptr};
  napi_get_cb_info(env, info, &argc, argv, nullptr, nullptr);
  if (!js::is_function(env, argv[1])) return js::undefined(env);
  return AsyncTask::start(env, std::make_unique<InspectTask>(env, argv[0]), argv[1], "nvlm:inspect");
}

}  // namespace nvlm
