#include "addon/async_task.h"

#include <exception>
#include <new>
#include <string>

namespace nvlm {

void AsyncTask::Execute() {
  if (failure_) return;
  try {
    work();
  } catch (const Error& error) {
    failure_.set(error);
  } catch (const std::bad_alloc&) {
    failure_ = {"out-of-memory", "The system refused memory. Close other models or programs, or use a smaller image."};
  } catch (const std::exception& error) {
    failure_ = {"internal", std::string("The task failed unexpectedly (") + error.what() + "). Please report this."};
  }
}

std::vector<napi_value> AsyncTask::GetResult(Napi::Env env) {
  if (failure_) return {js::to_js(env, failure_), env.Null()};
  return {env.Null(), result(env)};
}

}  // namespace nvlm
