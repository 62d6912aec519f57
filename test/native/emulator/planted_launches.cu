// Bugs of launches that overlap: dependent launches that don't wait for what they need, or too late, or not for all of
// it.
#include "cuda/gpu.h"
#include "cuda/ptx/common.h"
#include "cuda/ptx/sm90.h"
#include "emulator/control.h"
#include "emulator/planted.h"

namespace nvlm::emulator {
namespace {

using namespace nvlm::gpu;

constexpr uint32_t kThreads = 128, kBlocks = 4;
constexpr uint32_t kCount = kThreads * kBlocks;

// Three arrays of kCount floats and a counter, all zero.
struct Arrays {
  float *a = nullptr, *b = nullptr, *c = nullptr;
  uint32_t* counter = nullptr;
  Stream stream = nullptr;

  Arrays() {
    create_stream(&stream);
    a = zeros<float>(), b = zeros<float>(), c = zeros<float>(), counter = zeros<uint32_t>();
    wait(stream);  // so that another stream may read them
  }
  ~Arrays() {
    for (void* memory :
         {static_cast<void*>(a), static_cast<void*>(b), static_cast<void*>(c), static_cast<void*>(counter)})
      gpu::free(memory, stream);
    destroy_stream(stream);
  }
  template <typename T>
  T* zeros() {
    void* memory = nullptr;
    alloc(&memory, kCount * sizeof(T), stream);
    fill(memory, 0, kCount * sizeof(T), stream);
    return static_cast<T*>(memory);
  }
};

struct Copy {
  const float* from;
  float* to;
  uint32_t* counter = nullptr;
};
struct Sum {
  const float* from;
  float* partial;
  uint32_t* counter;
};

__device__ uint32_t place() { return blockIdx.x * kThreads + threadIdx.x; }

enum class Waits { first, late, never };

// to = from backwards: a block reads what another one wrote.
template <Waits waits, bool dependent = true>
__global__ void copy(const __grid_constant__ Copy c) {
  ptx::let_next_launch_begin();
  if (dependent && waits == Waits::first) ptx::wait_for_earlier_launches();
  const float value = c.from[kCount - 1 - place()];
  if (dependent && waits == Waits::late) ptx::wait_for_earlier_launches();
  c.to[place()] = value;
}

// Writes before it waits, or after.
template <bool planted>
__global__ void overwrite(const __grid_constant__ Copy c) {
  if (!planted) ptx::wait_for_earlier_launches();
  c.to[place()] = 1;
  if (planted) ptx::wait_for_earlier_launches();
}

// One thread waits for its block; the barrier tells the others, beside what another thread has learnt from other
// blocks.
template <bool planted>
__global__ void copy_by_one_wait(const __grid_constant__ Copy c) {
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; ++i) ptx::add_acquire_release(c.counter, 1);
  }
  if (threadIdx.x == 1) ptx::wait_for_earlier_launches();
  if (!planted) __syncthreads();
  c.to[place()] = c.from[kCount - 1 - place()];
}

// Each block leaves a partial sum; the last one to count adds them up and sets the counter back for the next launch.
template <bool planted>
__global__ void sum_up(const __grid_constant__ Sum s) {
  SharedMemory shared;
  uint32_t* arrived = shared.take<uint32_t>(1);
  ptx::let_next_launch_begin();
  if (planted && threadIdx.x == 0) *arrived = ptx::add_acquire_release(s.counter, 1);
  ptx::wait_for_earlier_launches();
  if (threadIdx.x == 0) s.partial[blockIdx.x] = s.from[blockIdx.x];
  if (!planted && threadIdx.x == 0) *arrived = ptx::add_acquire_release(s.counter, 1);
  __syncthreads();
  if (threadIdx.x == 0 && *arrived == gridDim.x - 1) *s.counter = 0;
}

void enqueue(void (*kernel)(Copy), const Arrays& arrays, const float* from, float* to, bool dependent) {
  launch(kernel, {dim3(kBlocks), dim3(kThreads), 0, arrays.stream, dependent}, Copy{from, to, arrays.counter});
}

// What `record` enqueues runs as a graph, so that all launches are there when the first one begins.
template <typename Record>
void run_as_graph(const Arrays& arrays, const Record& record) {
  Graph graph = nullptr;
  begin_capture(arrays.stream);
  record();
  end_capture(arrays.stream, &graph);
  run_graph(graph, arrays.stream);
  wait(arrays.stream);
  destroy_graph(graph);
}

constexpr auto kFirst = copy<Waits::first, false>;

// The first launch writes b from a; the second one follows.
void run_behind_first(const Arrays& at, void (*second)(Copy), const float* from, float* to) {
  run_as_graph(at, [&] {
    enqueue(kFirst, at, at.a, at.b, false);
    enqueue(second, at, from, to, kDependent);
  });
}

// ---- Programs ----

void launch_without_wait(bool planted) {
  const Arrays at;
  run_behind_first(at, planted ? copy<Waits::never> : copy<Waits::first>, at.b, at.c);
}

// Not in a graph: the earlier launch may be long over when the dependent one is asked for.
void launch_without_wait_on_a_stream(bool planted) {
  const Arrays at;
  enqueue(kFirst, at, at.a, at.b, false);
  enqueue(planted ? copy<Waits::never> : copy<Waits::first>, at, at.b, at.c, kDependent);
  wait(at.stream);
}

void wait_after_the_first_read(bool planted) {
  const Arrays at;
  run_behind_first(at, planted ? copy<Waits::late> : copy<Waits::first>, at.b, at.c);
}

void write_before_the_wait(bool planted) {
  const Arrays at;
  run_behind_first(at, planted ? overwrite<true> : overwrite<false>, nullptr, at.a);
}

void wait_that_others_are_not_told_of(bool planted) {
  const Arrays at;
  run_behind_first(at, planted ? copy_by_one_wait<true> : copy_by_one_wait<false>, at.b, at.c);
}

// The third launch waits for the second, which tells of the first only if it has waited itself. It touches nothing of
// what the others do. So does a third one that is not dependent at all.
template <bool dependent>
void middle_launch_without_wait(bool planted) {
  const Arrays at, other;
  run_as_graph(at, [&] {
    enqueue(kFirst, at, at.a, at.b, false);
    launch(planted ? copy<Waits::never> : copy<Waits::first>, {dim3(1), dim3(kThreads), 0, at.stream, kDependent},
           Copy{other.a, other.b});
    enqueue(dependent ? copy<Waits::first> : kFirst, at, at.b, at.c, dependent);
  });
}

void counter_used_before_the_wait(bool planted) {
  const Arrays at;
  run_as_graph(at, [&] {
    for (int i = 0; i < 3; ++i)
      launch(planted ? sum_up<true> : sum_up<false>, {dim3(kBlocks), dim3(kThreads), 64, at.stream, i > 0},
             Sum{at.a, at.b, at.counter});
  });
}

}  // namespace

std::vector<Planted> planted_launches() {
  return {
      {"launch_without_wait", "race", launch_without_wait},
      {"launch_without_wait_on_a_stream", "race", launch_without_wait_on_a_stream},
      {"wait_after_the_first_read", "race", wait_after_the_first_read},
      {"write_before_the_wait", "race", write_before_the_wait},
      {"middle_launch_without_wait", "race", middle_launch_without_wait<true>},
      {"plain_launch_behind_one_without_wait", "race", middle_launch_without_wait<false>},
      {"wait_that_others_are_not_told_of", "race", wait_that_others_are_not_told_of},
      {"counter_used_before_the_wait", "race", counter_used_before_the_wait},
  };
}

uint64_t overlaps_of_dependent_launches() {
  const Arrays at;
  const uint64_t before = counters().overlaps;
  run_as_graph(at, [&] {
    enqueue(kFirst, at, at.a, at.b, false);
    for (int i = 0; i < 8; ++i) enqueue(copy<Waits::first>, at, i % 2 ? at.c : at.b, i % 2 ? at.b : at.c, kDependent);
  });
  return counters().overlaps - before;
}

}  // namespace nvlm::emulator
