// Events on their way from an engine's thread to JavaScript: a queue, and a ThreadSafeFunction that wakes the event
// loop.
//
// Node may crash when a thread calls a ThreadSafeFunction whose environment is gone. So `close`, called by the
// environment's cleanup hook before that happens, and `push` take the same lock; a closed bridge swallows events and
// never touches the function again.
#pragma once

#include <napi.h>

#include <cstddef>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "engine/engine.h"

namespace nvlm {

class Bridge {
 public:
  // The other end, on the JS thread. Lives until bridge_gone.
  class Receiver {
   public:
    virtual void deliver(Napi::Env env, std::vector<Event> events) = 0;
    virtual void bridge_gone() = 0;

   protected:
    ~Receiver() = default;
  };

  explicit Bridge(Receiver& receiver) : receiver_(receiver) {}
  Bridge(const Bridge&) = delete;
  Bridge& operator=(const Bridge&) = delete;

  // JS thread, once. The event loop is held until `hold(env, false)`.
  bool open(Napi::Env env);
  void hold(Napi::Env env, bool keep);
  // JS thread; idempotent. `release`: releases the function too (the environment does that itself when it ends).
  void close(bool release);

  // Any thread. Text of a request that still waits for the event loop is joined, so a busy loop costs memory for text
  // only.
  void push(Event event);

 private:
  static void on_wake(Napi::Env env, Napi::Function, Bridge* bridge, void*);
  static void on_gone(Napi::Env env, void*, Bridge* bridge);
  using Function = Napi::TypedThreadSafeFunction<Bridge, void, on_wake>;
  bool merge(Event& event);

  Receiver& receiver_;
  Function function_;
  std::mutex mutex_;
  bool closed_ = true;
  bool woken_ = false;  // a wake is on its way and will find what is queued
  std::vector<Event> queue_;
  std::unordered_map<uint64_t, size_t> text_at_;  // request -> its text event in the queue
};

}  // namespace nvlm
