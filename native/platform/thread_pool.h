// The process's CPU threads, shared by all models: created with the first device, joined with the last.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace nvlm {

class ThreadPool {
 public:
  // The one pool, with at least threads - 1 workers (the caller is the other thread). Throws std::system_error when the
  // system refuses a thread.
  static std::shared_ptr<ThreadPool> acquire(int threads);

  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // body(i, thread) for i in [0, count), each once, on the calling thread and at most threads - 1 workers; returns when
  // all are done. thread < min(threads, count) numbers those of this call: what belongs to one number is touched by one
  // thread. Any number of threads may call at once. body must not call run. When it throws, no further index is begun
  // and the first exception comes out of run once all threads have left.
  void run(int64_t count, int threads, const std::function<void(int64_t, int)>& body);
  void run(int64_t count, int threads, const std::function<void(int64_t)>& body) {
    run(count, threads, [&](int64_t i, int) { body(i); });
  }

 private:
  struct Job {
    const std::function<void(int64_t, int)>* body;
    int64_t count;
    // Workers that may still join (under mutex_); the one that joins takes it as its number.
    int wanted;
    std::atomic<int64_t> next{0};  // next index to take
    std::atomic<int> active{0};    // workers inside
    std::atomic<bool> failed{false};
    std::exception_ptr error{};  // written by the thread that set `failed`; read once all have left
  };

  ThreadPool() = default;
  void grow(int workers, int64_t holders);
  void work();
  Job* join_a_job(int& thread);
  static void take_indices(Job& job, int thread);

  std::mutex mutex_;
  std::condition_variable wake_, left_;
  std::vector<Job*> jobs_;
  std::vector<std::thread> workers_;
  std::atomic<uint64_t> posted_{0};  // jobs ever posted: what an idle worker watches before it sleeps
  int sleeping_ = 0;
  bool stop_ = false;
};

}  // namespace nvlm
