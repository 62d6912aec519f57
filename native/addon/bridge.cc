#include "addon/bridge.h"

#include <iterator>
#include <utility>

namespace nvlm {

bool Bridge::open(Napi::Env env) {
  // No JS function: the receiver knows which one to call.
  function_ = Function::New(env, "nvlm:events", 0, 1, this, on_gone, static_cast<void*>(nullptr));
  const std::lock_guard lock(mutex_);
  closed_ = !static_cast<napi_threadsafe_function>(function_);
  return !closed_;
}

void Bridge::hold(Napi::Env env, bool keep) {
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  if (keep) {
    function_.Ref(env);
  } else {
    function_.Unref(env);
  }
}

void Bridge::close(bool release) {
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  closed_ = true;
  queue_.clear();
  text_at_.clear();
  if (release) function_.Release();
}

void Bridge::push(Event event) {
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  if (!merge(event)) {
    if (event.type == Event::Type::text) text_at_[event.request] = queue_.size();
    queue_.push_back(std::move(event));
  }
  if (woken_) return;
  woken_ = function_.NonBlockingCall() == napi_ok;
}

// Joining is safe whatever comes between: events of different requests have no order, and after its text a request has
// only its last event.
bool Bridge::merge(Event& event) {
  if (event.type == Event::Type::progress && !queue_.empty() && queue_.back().type == Event::Type::progress) {
    queue_.back() = std::move(event);
    return true;
  }
  if (event.type != Event::Type::text) return false;
  const auto found = text_at_.find(event.request);
  if (found == text_at_.end()) return false;
  Event& text = queue_[found->second];
  text.text += event.text;
  text.ids.insert(text.ids.end(), event.ids.begin(), event.ids.end());
  text.logprobs.insert(text.logprobs.end(), std::make_move_iterator(event.logprobs.begin()),
                       std::make_move_iterator(event.logprobs.end()));
  return true;
}

void Bridge::on_wake(Napi::Env env, Napi::Function, Bridge* bridge, void*) {
  if (!static_cast<napi_env>(env)) return;  // the environment is ending
  std::vector<Event> events;
  {
    const std::lock_guard lock(bridge->mutex_);
    events = std::exchange(bridge->queue_, {});
    bridge->text_at_.clear();
    bridge->woken_ = false;
  }
  if (!events.empty()) bridge->receiver_.deliver(env, std::move(events));
}

void Bridge::on_gone(Napi::Env, void*, Bridge* bridge) { bridge->receiver_.bridge_gone(); }

}  // namespace nvlm
