// GELU and SiLU of one float32, for every kernel that ends with them. Not the exact formulas of CUDA's library, which
// would be a tenth of the encoder's up product: they cost some 40 and 24 instructions, these 10 and 11.
#pragma once

#include "cuda/ptx/sm80.h"

namespace nvlm::gpu {

// x Φ(x) = max(x, 0) - |x| Φ(-|x|), and Φ(-z) = 2^R(z), with R a polynomial: log2 Φ(-z) is nearly a parabola.
//
// Fitted for the least greatest error over [0, 6], which is 4.7e-6 of log2, so 3.3e-6 of Φ; R falls everywhere behind
// it, as Φ does. With rounding the result is off by at most 2^-17 |x| Φ(-|x|) + 2^-23 |gelu(x)|, and by 2^-40 where |x|
// > 6: a thousandth of a bf16's last place. A NaN stays one; infinity becomes one.
__device__ __forceinline__ float gelu(float x) {
  const float z = fabsf(x);
  float r = -1.8348096e-6f;
  r = fmaf(r, z, 6.159826e-5f);
  r = fmaf(r, z, -9.3052454e-4f);
  r = fmaf(r, z, 8.50789e-3f);
  r = fmaf(r, z, -5.3960066e-2f);
  r = fmaf(r, z, -4.5846438e-1f);
  r = fmaf(r, z, -1.1512511f);
  r = fmaf(r, z, -9.999953e-1f);
  return fmaf(-z, ptx::exp2_fast(r), fmaxf(x, 0));
}

// x σ(x), within 2^-21 of it. What is less than -88 becomes 0.
__device__ __forceinline__ float silu(float x) { return x * ptx::reciprocal_fast(1 + expf(-x)); }

}  // namespace nvlm::gpu
