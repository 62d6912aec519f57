#include "platform/thread_pool.h"

#include <algorithm>
#include <chrono>

#include "platform/condition_wait.h"

namespace nvlm {
namespace {

// Ops of one step follow each other within microseconds; waking a sleeping thread costs more than that.
constexpr auto kSpin = std::chrono::microseconds(50);

template <typename Condition>
bool spin_until(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (condition()) return true;
    }
    std::this_thread::yield();
  } while (std::chrono::steady_clock::now() < end);
  return condition();
}

}  // namespace

std::shared_ptr<ThreadPool> ThreadPool::acquire(int threads) {
  static std::mutex mutex;
  static std::weak_ptr<ThreadPool> shared;
  const std::lock_guard lock(mutex);
  std::shared_ptr<ThreadPool> pool = shared.lock();
  if (!pool) {
    pool.reset(new ThreadPool);
    shared = pool;
  }
  pool->grow(threads - 1, pool.use_count());
  return pool;
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    posted_.fetch_add(1);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

// Room for a job a holder, so that posting one takes no memory.
void ThreadPool::grow(int workers, int64_t holders) {
  const std::lock_guard lock(mutex_);
  jobs_.reserve(static_cast<size_t>(holders));
  while (static_cast<int>(workers_.size()) < workers) workers_.emplace_back([this] { work(); });
}

void ThreadPool::take_indices(Job& job, int thread) {
  try {
    for (int64_t i = job.next.fetch_add(1); i < job.count; i = job.next.fetch_add(1)) (*job.body)(i, thread);
  } catch (...) {
    if (!job.failed.exchange(true)) job.error = std::current_exception();
    job.next.store(job.count);
  }
}

void ThreadPool::run(int64_t count, int threads, const std::function<void(int64_t, int)>& body) {
  if (count <= 1 || threads <= 1) {
    for (int64_t i = 0; i < count; ++i) body(i, 0);
    return;
  }
  Job job{&body, count, static_cast<int>(std::min<int64_t>(threads, count)) - 1};
  bool sleepers;
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(&job);
    posted_.fetch_add(1);
    sleepers = sleeping_ > 0;
  }
  if (sleepers) wake_.notify_all();
  take_indices(job, 0);
  {
    const std::lock_guard lock(mutex_);  // nobody joins any more
    jobs_.erase(std::find(jobs_.begin(), jobs_.end(), &job));
  }
  if (spin_until([&] { return job.active.load() == 0; })) {
    const std::lock_guard lock(mutex_);  // the last worker has let go of the lock under which it left
  } else {
    std::unique_lock lock(mutex_);
    condition_wait(left_, lock, [&] { return job.active.load() == 0; });
  }
  if (job.error) std::rethrow_exception(job.error);
}

// Under mutex_.
ThreadPool::Job* ThreadPool::join_a_job(int& thread) {
  for (Job* job : jobs_) {
    if (job->wanted > 0 && job->next.load() < job->count) {
      thread = job->wanted--;
      job->active.fetch_add(1);
      return job;
    }
  }
  return nullptr;
}

void ThreadPool::work() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    int thread;
    if (Job* job = join_a_job(thread)) {
      lock.unlock();
      take_indices(*job, thread);
      lock.lock();
      if (job->active.fetch_sub(1) == 1) left_.notify_all();
      continue;
    }
    const uint64_t seen = posted_.load();
    lock.unlock();
    const bool posted = spin_until([&] { return posted_.load() != seen; });
    lock.lock();
    if (posted || posted_.load() != seen) continue;
    ++sleeping_;
    condition_wait(wake_, lock, [&] { return stop_ || posted_.load() != seen; });
    --sleeping_;
  }
}

}  // namespace nvlm
