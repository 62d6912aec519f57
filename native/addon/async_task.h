// Work on libuv's thread pool that ends in one call of a Node-style callback: done(failure, null) or done(null, value).
#pragma once

#include <node_api.h>

#include <functional>
#include <memory>

#include "addon/js.h"

namespace nvlm {

class AsyncTask {
 public:
  virtual ~AsyncTask() = default;
  // Owns itself until the callback was called. Answers undefined.
  static napi_value start(napi_env env, std::unique_ptr<AsyncTask> task, napi_value done, const char* name);

 protected:
  // On a thread of the pool. May throw.
  virtual void execute() = 0;
  // On the JS thread, after an execute that did not throw.
  virtual napi_value result(napi_env env) = 0;
  // On the JS thread, before the task is deleted: for references to JS values.
  virtual void cleanup(napi_env) {}

  js::Failure failure_;  // set before start: the callback gets it without work being done

 private:
  static void on_execute(napi_env env, void* data);
  static void on_complete(napi_env env, napi_status status, void* data);

  napi_async_work work_ = nullptr;
  napi_ref done_ = nullptr;
};

}  // namespace nvlm
