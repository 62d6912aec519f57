// Work on libuv's thread pool that ends in one call of a Node-style callback: done(failure, null) or done(null, value).
// Made with new and queued; it deletes itself, on the JS thread.
#pragma once

#include <napi.h>

#include <vector>

#include "addon/js.h"

namespace nvlm {

class AsyncTask : public Napi::AsyncWorker {
 protected:
  AsyncTask(Napi::Function done, const char* name) : AsyncWorker(done, name) {}

  // On a thread of the pool. May throw.
  virtual void work() = 0;
  // On the JS thread, after work that did not throw.
  virtual Napi::Value result(Napi::Env env) = 0;

  js::Failure failure_;  // set before the task is queued: the callback gets it without work being done

 private:
  void Execute() final;
  std::vector<napi_value> GetResult(Napi::Env env) final;
};

}  // namespace nvlm
