// PTX that every supported GPU has (sm_80 and newer). Each wrapper that touches memory or order is volatile with a
// memory clobber.
#pragma once

#include "cuda/gpu.h"

namespace nvlm::gpu::ptx {

#ifdef NVLM_EMULATOR

__device__ __forceinline__ uint4 load_streaming(const void* global) { return emulator::load_streaming(global); }
__device__ __forceinline__ void barrier(int id, int threads) { emulator::named_barrier(id, threads, true); }
__device__ __forceinline__ void arrive(int id, int threads) { emulator::named_barrier(id, threads, false); }
__device__ __forceinline__ uint32_t add_acquire_release(uint32_t* global, uint32_t value) {
  return emulator::add_acquire_release(global, value);
}
__device__ __forceinline__ void prefetch_l2(const void*) {}

#else

// 16 bytes that are read once: past the first-level cache.
__device__ __forceinline__ uint4 load_streaming(const void* global) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(global)
               : "memory");
  return v;
}

// Barrier `id` (1 to 15; 0 is __syncthreads) for `threads` threads of the block, whole warps: wait at it, or only be
// counted.
__device__ __forceinline__ void barrier(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
__device__ __forceinline__ void arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// Fetch-and-add, acquire and release at the GPU's scope: orders what this thread, and through barriers its block, wrote
// before and reads after.
__device__ __forceinline__ uint32_t add_acquire_release(uint32_t* global, uint32_t value) {
  uint32_t old;
  asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], %2;" : "=r"(old) : "l"(global), "r"(value) : "memory");
  return old;
}

__device__ __forceinline__ void prefetch_l2(const void* global) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(global) : "memory");
}

#endif

}  // namespace nvlm::gpu::ptx
