#include "emulator/planted.h"

#include <algorithm>

#include "cuda/gpu.h"
#include "cuda/ptx/common.h"
#include "cuda/ptx/sm80.h"
#include "emulator/control.h"

namespace nvlm::emulator {
namespace {

using namespace nvlm::gpu;

constexpr uint32_t kThreads = 128;

// Device memory with what its floats are, and room for results.
struct Floats {
  explicit Floats(int count) : bytes(static_cast<uint64_t>(count) * sizeof(float)) {
    create_stream(&stream);
    void* memory = nullptr;
    alloc_pinned(&memory, bytes);
    host = static_cast<float*>(memory);
    for (int i = 0; i < count; ++i) host[i] = static_cast<float>(i % 7);
    alloc(&memory, bytes, stream);
    in = static_cast<float*>(memory);
    alloc(&memory, bytes, stream);
    out = static_cast<float*>(memory);
    copy_to_device(in, host, bytes, stream);
  }
  ~Floats() {
    wait(stream);
    gpu::free(in, stream);
    gpu::free(out, stream);
    free_pinned(host);
    destroy_stream(stream);
  }
  uint64_t bytes;
  Stream stream = nullptr;
  float *host, *in = nullptr, *out = nullptr;
};

struct Args {
  const float* in;
  float* out;
  uint32_t* counter;
  int count;
};

template <typename Kernel>
void run_kernel(Kernel kernel, dim3 grid, uint32_t shared, int count = 4 * kThreads, uint32_t threads = kThreads) {
  Floats floats(count);
  void* counter = nullptr;
  alloc(&counter, sizeof(uint32_t), floats.stream);
  fill(counter, 0, sizeof(uint32_t), floats.stream);
  if (launch(kernel, {grid, dim3(threads), shared, floats.stream},
             Args{floats.in, floats.out, static_cast<uint32_t*>(counter), count}) != Status::ok) {
    trap("launch", message());
  }
  wait(floats.stream);
  gpu::free(counter, floats.stream);
}

// ---- Barriers ----

template <bool planted>
__global__ void missing_barrier(const __grid_constant__ Args a) {
  SharedMemory shared;
  float* values = shared.take<float>(kThreads);
  values[threadIdx.x] = a.in[threadIdx.x];
  if (!planted) __syncthreads();
  a.out[threadIdx.x] = values[kThreads - 1 - threadIdx.x];
}

template <bool planted>
__global__ void write_after_read(const __grid_constant__ Args a) {
  SharedMemory shared;
  float* values = shared.take<float>(kThreads);
  float sum = 0;
  for (int step = 0; step < 4; ++step) {
    values[threadIdx.x] = a.in[step * kThreads + threadIdx.x];
    __syncthreads();
    sum += values[kThreads - 1 - threadIdx.x];
    if (!planted) __syncthreads();
  }
  a.out[threadIdx.x] = sum;
}

template <bool planted>
__global__ void missing_syncwarp(const __grid_constant__ Args a) {
  SharedMemory shared;
  float* values = shared.take<float>(kThreads);
  values[threadIdx.x] = a.in[threadIdx.x];
  if (!planted) __syncwarp();
  a.out[threadIdx.x] = values[threadIdx.x ^ 1];
}

// A shuffle between the store and the load orders nothing.
template <bool planted>
__global__ void shuffle_as_barrier(const __grid_constant__ Args a) {
  SharedMemory shared;
  float* values = shared.take<float>(kThreads);
  values[threadIdx.x] = a.in[threadIdx.x];
  const float other = __shfl_xor_sync(0xffffffffu, a.in[threadIdx.x], 16);
  if (!planted) __syncwarp();
  a.out[threadIdx.x] = other + values[threadIdx.x ^ 1];
}

template <bool planted>
__global__ void early_release(const __grid_constant__ Args a) {
  // Warps 0 and 1 fill a buffer that warps 2 and 3 read; barrier 1 says full, barrier 2 says empty.
  SharedMemory shared;
  float* buffer = shared.take<float>(kThreads / 2);
  const uint32_t half = kThreads / 2;
  float sum = 0;
  for (int step = 0; step < 4; ++step) {
    if (threadIdx.x < half) {
      if (step > 0) ptx::barrier(2, kThreads);
      buffer[threadIdx.x] = a.in[step * half + threadIdx.x];
      ptx::arrive(1, kThreads);
    } else {
      ptx::barrier(1, kThreads);
      if (planted && step < 3) ptx::arrive(2, kThreads);
      sum += buffer[kThreads - 1 - threadIdx.x];
      if (!planted && step < 3) ptx::arrive(2, kThreads);
    }
  }
  if (threadIdx.x >= half) a.out[threadIdx.x] = sum;
}

template <bool planted>
__global__ void barrier_in_a_branch(const __grid_constant__ Args a) {
  if (!planted || threadIdx.x < 16) __syncthreads();
  a.out[threadIdx.x] = a.in[threadIdx.x];
  if (planted && threadIdx.x >= 16 && threadIdx.x < 32) __syncthreads();
}

template <bool planted>
__global__ void barrier_nobody_reaches(const __grid_constant__ Args a) {
  if (threadIdx.x < 32) ptx::barrier(1, planted ? 64 : 32);
  a.out[threadIdx.x] = a.in[threadIdx.x];
}

// ---- Warps ----

template <bool planted>
__global__ void divergent_shuffle(const __grid_constant__ Args a) {
  float value = a.in[threadIdx.x];
  if (!planted || threadIdx.x % 32 < 24) value += __shfl_xor_sync(0xffffffffu, value, 1);
  a.out[threadIdx.x] = value;
}

template <bool planted>
__global__ void wrong_shuffle_mask(const __grid_constant__ Args a) {
  float value = a.in[threadIdx.x];
  // Half a warp takes part; with 16 it asks the other half.
  if (threadIdx.x % 32 < 16) value += __shfl_xor_sync(0x0000ffffu, value, planted ? 16 : 8);
  a.out[threadIdx.x] = value;
}

// ---- Asynchronous copies ----

template <bool planted>
__global__ void missing_copy_wait(const __grid_constant__ Args a) {
  SharedMemory shared;
  float* values = shared.take<float>(4 * kThreads);
  ptx::copy_async(values + 4 * threadIdx.x, a.in + 4 * threadIdx.x);
  ptx::commit_copies();
  if (!planted) ptx::wait_copies<0>();
  __syncthreads();
  a.out[threadIdx.x] = values[kThreads - 1 - threadIdx.x];
  ptx::wait_copies<0>();
}

template <bool planted>
__global__ void copies_left_behind(const __grid_constant__ Args a) {
  SharedMemory shared;
  float* values = shared.take<float>(4 * kThreads);
  ptx::copy_async(values + 4 * threadIdx.x, a.in + 4 * threadIdx.x);
  ptx::commit_copies();
  a.out[threadIdx.x] = 0;
  if (!planted) ptx::wait_copies<0>();
}

// ---- Memory ----

template <bool planted>
__global__ void shared_store_out_of_bounds(const __grid_constant__ Args a) {
  SharedMemory shared;
  float* first = shared.take<float>(kThreads);
  float* second = shared.take<float>(kThreads);
  second[threadIdx.x] = a.in[threadIdx.x];
  first[threadIdx.x + (planted ? 1 : 0)] = a.in[threadIdx.x];
  __syncthreads();
  a.out[threadIdx.x] = second[threadIdx.x] + first[kThreads - 1 - threadIdx.x];
}

template <bool planted>
__global__ void global_store_out_of_bounds(const __grid_constant__ Args a) {
  a.out[a.count - static_cast<int>(threadIdx.x) - (planted ? 0 : 1)] = a.in[threadIdx.x];
}

template <bool planted>
__global__ void uninitialised_read(const __grid_constant__ Args a) {
  SharedMemory shared;
  float* values = shared.take<float>(kThreads);
  if (!planted || threadIdx.x > 0) values[threadIdx.x] = a.in[threadIdx.x];
  __syncthreads();
  a.out[threadIdx.x] = values[kThreads - 1 - threadIdx.x];
}

template <bool planted>
__global__ void misaligned_load(const __grid_constant__ Args a) {
  const float4 four = *reinterpret_cast<const float4*>(a.in + 4 * threadIdx.x - (planted && threadIdx.x > 0 ? 1 : 0));
  a.out[threadIdx.x] = four.x + four.w;
}

// ---- Blocks ----

// Each block leaves a partial sum; the last one to count adds them up.
template <bool planted>
__global__ void split_sum(const __grid_constant__ Args a) {
  SharedMemory shared;
  uint32_t* arrived = shared.take<uint32_t>(1);
  a.out[blockIdx.x * kThreads + threadIdx.x] = a.in[blockIdx.x * kThreads + threadIdx.x];
  __syncthreads();
  if (threadIdx.x == 0) *arrived = planted ? atomicAdd(a.counter, 1u) : ptx::add_acquire_release(a.counter, 1);
  __syncthreads();
  if (*arrived != gridDim.x - 1) return;
  float sum = 0;
  for (uint32_t block = 0; block < gridDim.x; ++block) sum += a.out[block * kThreads + threadIdx.x];
  a.out[threadIdx.x] = sum;
}

// The same with fences around a relaxed atomic.
template <bool planted>
__global__ void split_sum_fenced(const __grid_constant__ Args a) {
  SharedMemory shared;
  uint32_t* arrived = shared.take<uint32_t>(1);
  a.out[blockIdx.x * kThreads + threadIdx.x] = a.in[blockIdx.x * kThreads + threadIdx.x];
  __syncthreads();
  if (threadIdx.x == 0) {
    if (!planted) __threadfence();
    *arrived = atomicAdd(a.counter, 1u);
    __threadfence();
  }
  __syncthreads();
  if (*arrived != gridDim.x - 1) return;
  float sum = 0;
  for (uint32_t block = 0; block < gridDim.x; ++block) sum += a.out[block * kThreads + threadIdx.x];
  a.out[threadIdx.x] = sum;
}

__global__ void copy_values(const __grid_constant__ Args a) {
  for (int i = static_cast<int>(threadIdx.x); i < a.count; i += kThreads) a.out[i] = a.in[i];
}

// ---- The host side ----

void pinned_reused_early(bool planted) {
  Floats floats(kThreads);
  if (!planted) wait(floats.stream);
  for (uint32_t i = 0; i < kThreads; ++i) floats.host[i] = 100;  // the next step's values
  launch(copy_values, {dim3(1), dim3(kThreads), 0, floats.stream}, Args{floats.in, floats.out, nullptr, kThreads});
  copy_to_host(floats.host, floats.out, floats.bytes, floats.stream);
  wait(floats.stream);
  for (uint32_t i = 0; i < kThreads; ++i) {
    if (floats.host[i] != static_cast<float>(i % 7)) trap("value", "another result than the values given");
  }
}

struct Place {
  float* out;
  const int* position;  // null: `fixed`
  int fixed;
};
__global__ void write_at(const __grid_constant__ Place p) {
  if (threadIdx.x == 0) p.out[p.position ? *p.position : p.fixed] = 1;
}

// A graph that was recorded at position 0 runs for positions 0 to 3.
void baked_in_position(bool planted) {
  Floats floats(4);
  void *memory = nullptr, *staged = nullptr;
  alloc(&memory, sizeof(int), floats.stream);
  alloc_pinned(&staged, sizeof(int));
  fill(floats.out, 0, floats.bytes, floats.stream);
  auto* position = static_cast<int*>(memory);
  Graph graph = nullptr;
  begin_capture(floats.stream);
  launch(write_at, {dim3(1), dim3(32), 0, floats.stream}, Place{floats.out, planted ? nullptr : position, 0});
  end_capture(floats.stream, &graph);
  for (int step = 0; step < 4; ++step) {
    *static_cast<int*>(staged) = step;
    copy_to_device(position, staged, sizeof(int), floats.stream);
    run_graph(graph, floats.stream);
    wait(floats.stream);
  }
  copy_to_host(floats.host, floats.out, floats.bytes, floats.stream);
  wait(floats.stream);
  for (int i = 0; i < 4; ++i) {
    if (floats.host[i] != 1) trap("value", "a step of the graph wrote at another step's position");
  }
  destroy_graph(graph);
  gpu::free(memory, floats.stream);
  free_pinned(staged);
}

void host_pointer(bool planted) {
  Floats floats(kThreads);
  launch(copy_values, {dim3(1), dim3(kThreads), 0, floats.stream},
         Args{planted ? new float[kThreads]() : floats.in, floats.out, nullptr, kThreads});
  wait(floats.stream);
}

void used_after_free(bool planted) {
  Floats floats(kThreads);
  void* memory = nullptr;
  alloc(&memory, floats.bytes, floats.stream);
  copy_on_device(memory, floats.in, floats.bytes, floats.stream);
  if (planted) gpu::free(memory, floats.stream);
  launch(copy_values, {dim3(1), dim3(kThreads), 0, floats.stream},
         Args{static_cast<float*>(memory), floats.out, nullptr, kThreads});
  if (!planted) gpu::free(memory, floats.stream);
  wait(floats.stream);
}

// Work of one stream that needs the other's, with and without an event between them.
void streams_without_event(bool planted) {
  Floats floats(kThreads);
  wait(floats.stream);
  Stream other = nullptr;
  Event done = nullptr;
  create_stream(&other);
  create_event(&done);
  launch(copy_values, {dim3(1), dim3(kThreads), 0, floats.stream}, Args{floats.in, floats.out, nullptr, kThreads});
  record(done, floats.stream);
  if (!planted) follow(other, done);
  // Pages of nobody's values until the first kernel has run.
  launch(copy_values, {dim3(1), dim3(kThreads), 0, other}, Args{floats.out, floats.in, nullptr, kThreads});
  wait(other);
  wait(floats.stream);
  destroy_event(done);
  destroy_stream(other);
}

// One for each way: what a kernel was allowed once it keeps.
template <bool planted>
__global__ void copy_with_much_shared(const Args a) {
  copy_values(a);
}

void too_much_shared(bool planted) {
  Floats floats(kThreads);
  constexpr uint32_t kBytes = kFreeShared + 64;
  if (!planted) allow_shared(copy_with_much_shared<false>, kBytes);
  const auto kernel = planted ? copy_with_much_shared<true> : copy_with_much_shared<false>;
  if (launch(kernel, {dim3(1), dim3(kThreads), kBytes, floats.stream},
             Args{floats.in, floats.out, nullptr, kThreads}) != Status::ok)
    trap("launch", message());
  wait(floats.stream);
}

template <void (*sound)(Args), void (*wrong)(Args), uint32_t blocks = 1>
void either(bool planted) {
  run_kernel(planted ? wrong : sound, dim3(blocks), 16 * 1024);
}

}  // namespace

// clang-format off
#define NVLM_PLANTED(kernel, detector) \
  { #kernel, detector, either<kernel<false>, kernel<true>> }
#define NVLM_PLANTED_BLOCKS(kernel, detector) \
  { #kernel, detector, either<kernel<false>, kernel<true>, 4> }
// clang-format on

std::vector<Planted> planted_bugs() {
  return {
      NVLM_PLANTED(missing_barrier, "race|unwritten"),
      NVLM_PLANTED(write_after_read, "race"),
      NVLM_PLANTED(missing_syncwarp, "race|unwritten"),
      NVLM_PLANTED(shuffle_as_barrier, "race"),
      NVLM_PLANTED(early_release, "race"),
      NVLM_PLANTED(barrier_in_a_branch, "divergence|hang"),
      NVLM_PLANTED(barrier_nobody_reaches, "hang"),
      NVLM_PLANTED(divergent_shuffle, "divergence|hang"),
      NVLM_PLANTED(wrong_shuffle_mask, "divergence"),
      NVLM_PLANTED(missing_copy_wait, "race"),
      NVLM_PLANTED(copies_left_behind, "copies"),
      NVLM_PLANTED(shared_store_out_of_bounds, "bounds"),
      NVLM_PLANTED(global_store_out_of_bounds, "bounds"),
      NVLM_PLANTED(uninitialised_read, "unwritten"),
      NVLM_PLANTED(misaligned_load, "alignment"),
      NVLM_PLANTED_BLOCKS(split_sum, "race"),
      NVLM_PLANTED_BLOCKS(split_sum_fenced, "race"),
      {"pinned_reused_early", "value", pinned_reused_early},
      {"baked_in_position", "value", baked_in_position},
      {"host_pointer", "host memory", host_pointer},
      {"used_after_free", "bounds", used_after_free},
      {"streams_without_event", "unwritten", streams_without_event},
      {"too_much_shared", "launch", too_much_shared},
  };
}

}  // namespace nvlm::emulator
