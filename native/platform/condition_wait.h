#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace nvlm {

/// What `condition.wait(lock, ready)` does. g++ 12 would make the addon need the symbol GLIBCXX_3.4.30 for that call,
/// which Ubuntu 22.04 and RHEL 9 lack; waiting for a time is inline. The time only says how often an idle thread looks
/// up.
template <class Ready>
void condition_wait(std::condition_variable& condition, std::unique_lock<std::mutex>& lock, Ready ready) {
  while (!condition.wait_for(lock, std::chrono::hours(1), ready)) {
  }
}

}  // namespace nvlm
