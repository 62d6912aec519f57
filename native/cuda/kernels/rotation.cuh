// Sine and cosine of rope's angles, without the local memory that sincosf takes for large ones.
#pragma once

#include <cmath>

#include "cuda/gpu.h"

namespace nvlm::gpu {

struct Rotation {
  float cosine, sine;
};

// Within 2^-22 for any position: the angle is reduced to [-pi/4, pi/4] in double, then Cephes' polynomials for float.
__device__ __forceinline__ Rotation rotation(float angle) {
  const double turns = static_cast<double>(angle) * 0.63661977236758134308;  // quarter turns
  const double whole = floor(turns + 0.5);
  const float r = static_cast<float>((turns - whole) * 1.57079632679489661923), s = r * r;
  const float sine = r + r * s * fmaf(fmaf(-1.9515295891e-4f, s, 8.3321608736e-3f), s, -1.6666654611e-1f);
  const float cosine =
      1.0f - 0.5f * s + s * s * fmaf(fmaf(2.443315711809948e-5f, s, -1.388731625493765e-3f), s, 4.166664568298827e-2f);
  const int32_t quadrant = static_cast<int32_t>(static_cast<int64_t>(whole) & 3);
  const float c = quadrant & 1 ? sine : cosine, t = quadrant & 1 ? cosine : sine;
  return {quadrant == 1 || quadrant == 2 ? -c : c, quadrant >= 2 ? -t : t};
}

}  // namespace nvlm::gpu
