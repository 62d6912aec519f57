#include "addon/bridge.h"

#include <iterator>
#include <utility>

#include "addon/js.h"

namespace nvlm {

bool Bridge::open(napi_env env) {
  napi_value name = js::string(env, "nvlm:events");
  // Kept by the function until it is gone: no JS function, the receiver knows whom to call.
  const napi_status status = napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, this, on_gone, this, on_wake, &function_);
  const std::lock_guard lock(mutex_);
  closed_ = status != napi_ok;
  return !closed_;
}

void Bridge::hold(napi_env env, bool keep) {
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  if (keep) {
    napi_ref_threadsafe_function(env, function_);
  } else {
    napi_unref_threadsafe_function(env, function_);
  }
}

void Bridge::close(bool release) {
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  closed_ = true;
  queue_.clear();
  text_at_.clear();
  if (release) napi_release_threadsafe_function(function_, napi_tsfn_release);
}

void Bridge::push(Event event) {
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  if (!merge(event)) {
    if (event.type == Event::Type::text) text_at_[event.request] = queue_.size();
    queue_.push_back(std::move(event));
  }
  if (woken_) return;
  woken_ = napi_call_threadsafe_function(function_, nullptr, napi_tsfn_nonblocking) == napi_ok;
}

// Joining is safe whatever stands between: events of different requests have no order, and after its text a request has only its last event.
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
  text.logprobs.insert(text.logprobs.end(), std::make_move_iterator(event.logprobs.begin()), std::make_move_iterator(event.logprobs.end()));
  return true;
}

void Bridge::on_wake(napi_env env, napi_value, void* context, void*) {
  if (!env) return;  // the environment is ending
  Bridge& bridge = *static_cast<Bridge*>(context);
  std::vector<Event> events;
  {
    const std::lock_guard lock(bridge.mutex_);
    events = std::exchange(bridge.queue_, {});
    bridge.text_at_.clear();
    bridge.woken_ = false;
  }
  if (!events.empty()) bridge.receiver_.deliver(env, std::move(events));
}

void Bridge::on_gone(napi_env env, void* data, void*) {
  Bridge& bridge = *static_cast<Bridge*>(data);
  bridge.receiver_.bridge_gone(env);
}

}  // namespace nvlm
