// exp, GELU and SiLU on a vector.
#pragma once

#include NVLM_CPU_SIMD

namespace nvlm::cpu::NVLM_CPU_SET {

// e^x, relative error below 2e-7 in [-87, 88]; beyond, the ends' values; NaN stays NaN. 2^n · e^r with n = round(x/ln
// 2), |r| ≤ ln 2 / 2, Taylor to r^7 / 7! (remainder 1e-8).
inline Vec exp(Vec x) {
  x = max(set(-87.0f), min(set(88.0f), x));  // in this order of operands a NaN stays one
  const Vec n = round(mul(x, set(1.44269504f)));
  // ln 2 in two parts, so that n·ln 2 is exact enough.
  const Vec r = fma(n, set(-1.42860677e-6f), fma(n, set(-0.693145752f), x));
  Vec p = set(1.0f / 5040);
  p = fma(p, r, set(1.0f / 720));
  p = fma(p, r, set(1.0f / 120));
  p = fma(p, r, set(1.0f / 24));
  p = fma(p, r, set(1.0f / 6));
  p = fma(p, r, set(0.5f));
  p = fma(p, r, set(1.0f));
  p = fma(p, r, set(1.0f));
  return mul(p, exp2_whole(n));
}

inline Vec silu(Vec x) { return div(x, add(set(1.0f), exp(sub(set(0.0f), x)))); }

// 0.5·x·(1 + erf(x/√2)); erf by Abramowitz & Stegun 7.1.26, absolute error below 1.5e-7.
inline Vec gelu(Vec x) {
  const Vec z = mul(x, set(0.70710678f)), size = copysign(z, set(1.0f));
  const Vec t = div(set(1.0f), fma(set(0.3275911f), size, set(1.0f)));
  Vec p = set(1.061405429f);
  p = fma(p, t, set(-1.453152027f));
  p = fma(p, t, set(1.421413741f));
  p = fma(p, t, set(-0.284496736f));
  p = fma(p, t, set(0.254829592f));
  const Vec erf = sub(set(1.0f), mul(mul(p, t), exp(sub(set(0.0f), mul(z, z)))));
  return mul(mul(set(0.5f), x), add(set(1.0f), copysign(erf, x)));
}

}  // namespace nvlm::cpu::NVLM_CPU_SET
