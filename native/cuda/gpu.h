// CUDA as this library uses it: the language of kernels, and the runtime calls of the host side. Nothing else in
// native/cuda includes a header of CUDA.
//
// The same sources build twice: with nvcc, and with g++ and -DNVLM_EMULATOR, where test/native/emulator stands in for
// compiler, driver and GPU. So a kernel is launched through `launch`, never with <<<>>>; shared memory comes from
// SharedMemory; PTX stands in ptx/ alone; warp masks are explicit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#ifdef NVLM_EMULATOR
#include "emulator/device.h"
#else
#include <cuda_runtime.h>
#endif

struct CUstream_st;
struct CUevent_st;
struct CUgraphExec_st;

namespace nvlm::gpu {

using Stream = CUstream_st*;
using Event = CUevent_st*;
using Graph = CUgraphExec_st*;

// What a runtime call answers. After a fault every later call of the process answers `fault` too (the CUDA context is
// gone).
enum class Status { ok, out_of_memory, invalid, no_device, driver_too_old, no_kernel, fault };
// The runtime's words for the last status of this thread that was not ok.
const char* message();

struct DeviceInfo {
  char name[256];
  int major, minor;  // compute capability
  int multiprocessors;
  int shared_per_block;  // bytes, with opt-in: 163 KB (8.0), 99 KB (8.6, 8.9, 12.0), 227 KB (9.0, 10.0)
  int l2_bytes;
  uint64_t memory;                      // bytes in all
  int pci_domain, pci_bus, pci_device;  // a MIG part has those of its GPU
};

// These make no context on a GPU; whatever comes below may, and keeps it.
Status device_count(int* count);
Status device_info(int device, DeviceInfo* info);
Status driver_version(int* version);  // 13000: CUDA 13.0; 0: no driver

// For the calling thread, whose device is 0 before. A stream, and what is done on it, belongs to the device that was
// the thread's when it was made.
Status use_device(int device);
Status current_device(int* device);
// From now on this library stays in the process. CUDA's runtime, which is linked into it, keeps state of threads: it
// must not be gone when they end.
void keep_loaded();
Status memory_info(uint64_t* free, uint64_t* total);

// Stream-ordered pool of the current device; from `keep_freed_memory` on what is freed stays in it until `trim`.
Status keep_freed_memory();
Status alloc(void** memory, uint64_t bytes, Stream stream);
Status free(void* memory, Stream stream);
Status trim();
// Page-locked host memory: the only host memory that asynchronous copies take.
Status alloc_pinned(void** memory, uint64_t bytes);
Status free_pinned(void* memory);

Status create_stream(Stream* stream);
Status destroy_stream(Stream stream);
Status wait(Stream stream);
Status create_event(Event* event, bool timing = false);
Status destroy_event(Event event);
Status record(Event event, Stream stream);
Status wait_for(Event event);               // the host waits
Status follow(Stream stream, Event event);  // the stream waits
Status elapsed(Event from, Event to, float* milliseconds);

Status copy_to_device(void* device, const void* pinned, uint64_t bytes, Stream stream);
Status copy_to_host(void* pinned, const void* device, uint64_t bytes, Stream stream);
Status copy_on_device(void* to, const void* from, uint64_t bytes, Stream stream);
Status fill(void* device, int byte, uint64_t bytes, Stream stream);

// Everything enqueued on `stream` in between becomes the graph; nothing of it runs before run_graph. Kernel arguments
// are fixed from then on.
Status begin_capture(Stream stream);
Status end_capture(Stream stream, Graph* graph);
Status run_graph(Graph graph, Stream stream);
Status destroy_graph(Graph graph);

// ---- Launching ----

struct Launch {
  dim3 grid, block;
  uint32_t shared = 0;  // bytes of dynamic shared memory
  Stream stream = nullptr;
  // The launch may begin while the one before it on the stream still runs (programmatic dependent launch), where the
  // GPU can do that. Its kernel has to call ptx::wait_for_earlier_launches before it touches what earlier launches
  // write, or writes what they touch (ptx/sm90.h).
  bool dependent = false;
  uint32_t cluster = 1;  // blocks along x that run together and see each other's shared memory (9.0 and newer)
};
constexpr bool kDependent = true;  // Launch::dependent, by name

namespace detail {
Status launch(const void* kernel, void (*call)(const void* kernel, const void* args), const Launch& launch,
              const void* args, size_t args_bytes);
Status allow_shared(const void* kernel, uint32_t bytes);      // shared_limit.cc
Status set_shared_limit(const void* kernel, uint32_t bytes);  // for all launches of the kernel on the current device
}  // namespace detail

// Kernels take one argument, a plain struct, so that graphs and the emulator can copy it.
template <typename Args>
Status launch(void (*kernel)(Args), const Launch& shape, const Args& args) {
  static_assert(std::is_trivially_copyable_v<Args> && sizeof(Args) <= 4096);
#ifdef NVLM_EMULATOR
  const auto call = [](const void* k, const void* a) {
    reinterpret_cast<void (*)(Args)>(const_cast<void*>(k))(*static_cast<const Args*>(a));
  };
#else
  constexpr auto call = nullptr;
#endif
  return detail::launch(reinterpret_cast<const void*>(kernel), call, shape, &args, sizeof args);
}

// More than kFreeShared bytes of dynamic shared memory have to be allowed before the launch.
constexpr uint32_t kFreeShared = 48 * 1024;
template <typename Args>
Status allow_shared(void (*kernel)(Args), uint32_t bytes) {
  return detail::allow_shared(reinterpret_cast<const void*>(kernel), bytes);
}

// ---- Shared memory ----

// Deals out a block's dynamic shared memory; every thread takes the same arrays in the same order. The emulator puts a
// poisoned gap behind each.
class SharedMemory {
 public:
#ifdef NVLM_EMULATOR
  __device__ SharedMemory() : base_(emulator::shared_base()) {}
#else
  __device__ SharedMemory() {
    extern __shared__ __align__(1024) unsigned char nvlm_shared[];
    base_ = nvlm_shared;
  }
#endif
  template <typename T>
  __device__ T* take(uint32_t count, uint32_t alignment = 16) {
    at_ = (at_ + alignment - 1) / alignment * alignment;
    const uint32_t from = at_;
    at_ += count * static_cast<uint32_t>(sizeof(T));
#ifdef NVLM_EMULATOR
    return static_cast<T*>(emulator::take_shared(from, count * sizeof(T), alignment));
#else
    return reinterpret_cast<T*>(base_ + from);
#endif
  }

 private:
  unsigned char* base_;
  uint32_t at_ = 0;
};

}  // namespace nvlm::gpu
