// Programmatic dependent launch (griddepcontrol, sm_90). What runs where there is none, or was not launched as
// dependent, begins when all before it has ended: there both do nothing.
//
// A .cu file that includes this is compiled to compute_90 PTX as well, since compute_80 has no such instruction
// (CMakeLists.txt).
#pragma once

#include "cuda/gpu.h"

namespace nvlm::gpu::ptx {

#ifdef NVLM_EMULATOR

__device__ __forceinline__ void wait_for_earlier_launches() { emulator::wait_for_earlier_launches(); }
__device__ __forceinline__ void let_next_launch_begin() { emulator::let_next_launch_begin(); }

#else

// Until the launch before this one is complete, and what it wrote is to be seen. That covers the launches before that
// one only because it has waited itself: in every dependent launch some thread has to. Threads behind a barrier with
// one that waited need not wait for themselves.
__device__ __forceinline__ void wait_for_earlier_launches() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The next launch on the stream, if it is dependent, may begin once every block has called this or ended. It sees
// nothing by that: it still has to wait.
__device__ __forceinline__ void let_next_launch_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

#endif

}  // namespace nvlm::gpu::ptx
