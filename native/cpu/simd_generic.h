// The vocabulary of the portable set: eight floats in an array; the compiler makes of it what the baseline has.
#pragma once

#include <cstdint>
#include <cstring>

namespace nvlm::cpu::generic {

constexpr int kLanes = 8;

struct Vec {
  float v[kLanes];
};

template <typename F>
inline Vec lanes(F f) {
  Vec r;
  for (int i = 0; i < kLanes; ++i) r.v[i] = f(i);
  return r;
}

inline Vec set(float x) {
  return lanes([&](int) { return x; });
}
inline Vec load(const float* p) {
  Vec r;
  std::memcpy(r.v, p, sizeof r.v);
  return r;
}
inline void store(float* p, Vec a) { std::memcpy(p, a.v, sizeof a.v); }
inline Vec add(Vec a, Vec b) {
  return lanes([&](int i) { return a.v[i] + b.v[i]; });
}
inline Vec sub(Vec a, Vec b) {
  return lanes([&](int i) { return a.v[i] - b.v[i]; });
}
inline Vec mul(Vec a, Vec b) {
  return lanes([&](int i) { return a.v[i] * b.v[i]; });
}
inline Vec div(Vec a, Vec b) {
  return lanes([&](int i) { return a.v[i] / b.v[i]; });
}
// max and min give the second operand when either is NaN, as the x86 instructions do.
inline Vec max(Vec a, Vec b) {
  return lanes([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline Vec min(Vec a, Vec b) {
  return lanes([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
// a·b + c
inline Vec fma(Vec a, Vec b, Vec c) {
  return lanes([&](int i) { return a.v[i] * b.v[i] + c.v[i]; });
}
inline Vec copysign(Vec size, Vec sign) {
  return lanes([&](int i) { return __builtin_copysignf(size.v[i], sign.v[i]); });
}
inline float sum(Vec a) { return ((a.v[0] + a.v[4]) + (a.v[2] + a.v[6])) + ((a.v[1] + a.v[5]) + (a.v[3] + a.v[7])); }

// Rounds to the nearest integer, |a| < 2^22.
inline Vec round(Vec a) {
  return lanes([&](int i) { return (a.v[i] + 12582912.0f) - 12582912.0f; });
}
// 2^n for whole n in [-126, 127].
inline Vec exp2_whole(Vec n) {
  return lanes([&](int i) {
    // A NaN has no integer; the caller's factor carries it.
    const int32_t whole = n.v[i] == n.v[i] ? static_cast<int32_t>(n.v[i]) : 0;
    const int32_t bits = (whole + 127) * (1 << 23);
    float r;
    std::memcpy(&r, &bits, sizeof r);
    return r;
  });
}

inline Vec load_bf16(const uint16_t* p) {
  return lanes([&](int i) {
    const uint32_t bits = static_cast<uint32_t>(p[i]) << 16;
    float r;
    std::memcpy(&r, &bits, sizeof r);
    return r;
  });
}
// Through a product with 2^112, which is exact for normal and subnormal halves; infinities and NaN are put right after.
inline Vec load_f16(const uint16_t* p) {
  return lanes([&](int i) {
    const uint32_t size = (p[i] & 0x7fffu) << 13, sign = (p[i] & 0x8000u) << 16;
    float r;
    std::memcpy(&r, &size, sizeof r);
    r *= 0x1p112f;
    uint32_t bits;
    std::memcpy(&bits, &r, sizeof bits);
    bits |= sign | (size >= 0x0f800000u ? 0x7f800000u : 0u);
    std::memcpy(&r, &bits, sizeof r);
    return r;
  });
}

}  // namespace nvlm::cpu::generic
