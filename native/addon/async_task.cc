#include "addon/async_task.h"

#include <exception>
#include <new>

namespace nvlm {

napi_value AsyncTask::start(napi_env env, std::unique_ptr<AsyncTask> owned, napi_value done, const char* name) {
  AsyncTask* task = owned.get();
  const bool started = napi_create_reference(env, done, 1, &task->done_) == napi_ok &&
                       napi_create_async_work(env, nullptr, js::string(env, name), on_execute, on_complete, task, &task->work_) == napi_ok &&
                       napi_queue_async_work(env, task->work_) == napi_ok;
  if (started) {
    owned.release();
  } else {  // the environment is ending, or `done` is no object
    if (task->work_) napi_delete_async_work(env, task->work_);
    if (task->done_) napi_delete_reference(env, task->done_);
    task->cleanup(env);
  }
  return js::undefined(env);
}

void AsyncTask::on_execute(napi_env, void* data) {
  auto* task = static_cast<AsyncTask*>(data);
  if (task->failure_) return;
  try {
    task->execute();
  } catch (const Error& error) {
    task->failure_.set(error);
  } catch (const std::bad_alloc&) {
    task->failure_ = {"out-of-memory", "The system refused memory. Close other models or programs, or use a smaller image."};
  } catch (const std::exception& error) {
    task->failure_ = {"internal", std::string("An unforeseen failure (") + error.what() + "). Please report this."};
  }
}

void AsyncTask::on_complete(napi_env env, napi_status status, void* data) {
  const std::unique_ptr<AsyncTask> task(static_cast<AsyncTask*>(data));
  napi_value done = nullptr;
  napi_get_reference_value(env, task->done_, &done);
  napi_delete_reference(env, task->done_);
  napi_delete_async_work(env, task->work_);
  if (status == napi_ok && done) {
    if (task->failure_) {
      js::call(env, done, {js::failure(env, task->failure_), js::null(env)});
    } else {
      js::call(env, done, {js::null(env), task->result(env)});
    }
  }
  task->cleanup(env);
}

}  // namespace nvlm
