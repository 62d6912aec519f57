// Sums over a warp or a block, and eight bf16 at a time. Every lane, or every thread, gets the sum; the order of
// additions is fixed.
#pragma once

#include "cuda/bf16.h"
#include "cuda/gpu.h"
#include "cuda/ptx/sm80.h"

namespace nvlm::gpu {

constexpr uint32_t kFullWarp = 0xffffffffu;

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (uint32_t lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(kFullWarp, x, lanes);
  return x;
}

// For blocks of whole warps, called by all of them. `scratch`: 32 floats of shared memory, one array for each sum that
// a kernel takes.
__device__ __forceinline__ float block_sum(float x, float* scratch) {
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  x = warp_sum(x);
  if (lane == 0) scratch[warp] = x;
  __syncthreads();  // all warps' sums are there
  return warp_sum(lane < warps ? scratch[lane] : 0.0f);
}

// Eight neighbours of a row, 16 bytes.
struct Eight {
  float value[8];
};

__device__ __forceinline__ Eight widen(uint4 raw) {
  return {{low(raw.x), high(raw.x), low(raw.y), high(raw.y), low(raw.z), high(raw.z), low(raw.w), high(raw.w)}};
}

__device__ __forceinline__ uint4 narrow(const Eight& x) {
  return make_uint4(ptx::round_pair(x.value[0], x.value[1]), ptx::round_pair(x.value[2], x.value[3]),
                    ptx::round_pair(x.value[4], x.value[5]), ptx::round_pair(x.value[6], x.value[7]));
}

__device__ __forceinline__ uint4 load_eight(const bf16* from) { return *reinterpret_cast<const uint4*>(from); }
__device__ __forceinline__ void store_eight(bf16* to, uint4 eight) { *reinterpret_cast<uint4*>(to) = eight; }

__device__ __forceinline__ Eight load_eight(const float* from) {
  const float4 a = *reinterpret_cast<const float4*>(from), b = *reinterpret_cast<const float4*>(from + 4);
  return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
}

}  // namespace nvlm::gpu
