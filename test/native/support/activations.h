// GELU and SiLU in double, and how far the float32 ones of native/cuda/activation.cuh may be off.
#pragma once

#include <cmath>

namespace nvlm::test {

// The lower tail of the normal distribution.
inline double normal_tail(double x) { return 0.5 * std::erfc(-x * std::sqrt(0.5)); }
inline double gelu(double x) { return x * normal_tail(x); }
inline double silu(double x) { return x / (1 + std::exp(-x)); }

// Of the polynomial and the exponential in it; what rounding the result adds is not in it.
inline double gelu_error(double x) {
  const double size = std::abs(x);
  return size > 6 ? 0x1p-40 : 0x1p-17 * size * normal_tail(-size);
}

}  // namespace nvlm::test
