// The threads of a device, as kernels and the packing of weights use them.
#pragma once

#include <cstdint>
#include <functional>

namespace nvlm::host {

struct Threads {
  // body(i, thread) for i in [0, n), each once; thread < min(count, n), and a number is one thread's for the whole
  // call.
  void (*run)(void* pool, int64_t n, const std::function<void(int64_t, int)>& body);
  void* pool;
  int count;

  // By reference: a std::function that held the body would take memory, which nothing may while a plan runs.
  template <typename Body>
  void parallel(int64_t n, const Body& body) const {
    run(pool, n, std::cref(body));
  }
};

}  // namespace nvlm::host
