// Which requests are alive, which were cancelled, and the one flag that interrupts what the engine's thread is
// computing. Every function may be called on any thread.
#pragma once

#include <cstdint>
#include <mutex>
#include <unordered_set>
#include <vector>

namespace nvlm {

class Cancellation {
 public:
  static constexpr uint64_t kLoad = 0;  // request id of the load

  // A new request: its id, ascending from 1.
  uint64_t enter();
  // The request has ended; cancelling it has no effect any more.
  void leave(uint64_t id);

  void cancel(uint64_t id);
  bool cancelled(uint64_t id) const;
  // Cancels everything, present and future.
  void stop();
  bool stopping() const;

  // The thread begins to compute for these requests, until the next `work`. The flag is raised once all of them are
  // cancelled: a step that still serves another request runs to its end.
  void work(std::vector<uint64_t> ids);
  const volatile int32_t* flag() const { return &flag_; }

 private:
  void update();  // mutex_ held

  mutable std::mutex mutex_;
  uint64_t last_ = 0;
  bool stopping_ = false;
  std::unordered_set<uint64_t> alive_{kLoad}, cancelled_;
  std::vector<uint64_t> working_for_;
  int32_t flag_ = 0;
};

}  // namespace nvlm
