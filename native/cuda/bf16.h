// bfloat16 without cuda_bf16.h (half a second of compile time per file): storage, widening and rounding.
#pragma once

#include <cstdint>

#include "cuda/gpu.h"

namespace nvlm::gpu {

struct bf16 {
  uint16_t bits;
};

union FloatBits {
  float value;
  uint32_t bits;
};

__host__ __device__ __forceinline__ float to_float(bf16 x) {
  FloatBits f;
  f.bits = static_cast<uint32_t>(x.bits) << 16;
  return f.value;
}

// Round to nearest, ties to even; a NaN stays one.
__host__ __device__ __forceinline__ bf16 to_bf16(float x) {
  FloatBits f;
  f.value = x;
  if ((f.bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>(f.bits >> 16 | 0x40)};
  return {static_cast<uint16_t>((f.bits + 0x7fff + (f.bits >> 16 & 1)) >> 16)};
}

// Two neighbours in one register: the lower address in the lower half.
__host__ __device__ __forceinline__ uint32_t pack(bf16 low, bf16 high) {
  return static_cast<uint32_t>(low.bits) | static_cast<uint32_t>(high.bits) << 16;
}
__host__ __device__ __forceinline__ uint32_t pack(float low, float high) { return pack(to_bf16(low), to_bf16(high)); }
__host__ __device__ __forceinline__ float low(uint32_t pair) {
  FloatBits f;
  f.bits = pair << 16;
  return f.value;
}
__host__ __device__ __forceinline__ float high(uint32_t pair) {
  FloatBits f;
  f.bits = pair & 0xffff0000u;
  return f.value;
}

}  // namespace nvlm::gpu
