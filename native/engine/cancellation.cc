#include "engine/cancellation.h"

#include <algorithm>
#include <atomic>
#include <utility>

namespace nvlm {

uint64_t Cancellation::enter() {
  const std::lock_guard lock(mutex_);
  alive_.insert(++last_);
  return last_;
}

void Cancellation::leave(uint64_t id) {
  const std::lock_guard lock(mutex_);
  alive_.erase(id);
  cancelled_.erase(id);
}

void Cancellation::cancel(uint64_t id) {
  const std::lock_guard lock(mutex_);
  if (!alive_.contains(id)) return;
  cancelled_.insert(id);
  update();
}

bool Cancellation::cancelled(uint64_t id) const {
  const std::lock_guard lock(mutex_);
  return cancelled_.contains(id);
}

void Cancellation::stop() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  update();
}

bool Cancellation::stopping() const {
  const std::lock_guard lock(mutex_);
  return stopping_;
}

void Cancellation::work(std::vector<uint64_t> ids) {
  const std::lock_guard lock(mutex_);
  working_for_ = std::move(ids);
  update();
}

void Cancellation::update() {
  const bool all_cancelled = !working_for_.empty() && std::all_of(working_for_.begin(), working_for_.end(),
                                                                  [&](uint64_t id) { return cancelled_.contains(id); });
  std::atomic_ref<int32_t>(flag_).store(stopping_ || all_cancelled ? 1 : 0, std::memory_order_relaxed);
}

}  // namespace nvlm
