#include "reference/weights.h"

#include <cmath>
#include <cstring>

namespace nvlm::reference {
namespace {

// IEEE 754 binary16: sign, 5 bits of exponent with bias 15, 10 bits of fraction.
double from_f16(uint16_t bits) {
  const double sign = bits >> 15 ? -1 : 1, fraction = (bits & 0x3ff) / 1024.0;
  const int exponent = bits >> 10 & 0x1f;
  if (exponent == 0x1f) return fraction == 0 ? sign * INFINITY : NAN;
  return exponent == 0 ? sign * fraction * std::pow(2, -14) : sign * (1 + fraction) * std::pow(2, exponent - 15);
}

// bfloat16: the upper half of a float32.
double from_bf16(uint16_t bits) {
  const uint32_t wide = uint32_t{bits} << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

// Element i of stored data, which may be unaligned.
float element(const void* data, nvlm_dtype dtype, int64_t i) {
  if (dtype == NVLM_F32) {
    float value;
    std::memcpy(&value, static_cast<const char*>(data) + 4 * i, sizeof value);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, static_cast<const char*>(data) + 2 * i, sizeof bits);
  return static_cast<float>(dtype == NVLM_F16 ? from_f16(bits) : from_bf16(bits));
}

}  // namespace

uint64_t packed_bytes(const nvlm_weight_source& source) {
  uint64_t elements = 0;
  for (int32_t p = 0; p < source.parts; ++p)
    elements += static_cast<uint64_t>(source.part[p].rows) * static_cast<uint64_t>(source.part[p].cols);
  return elements * sizeof(float);
}

void pack(const nvlm_weight_source& source, nvlm_weight& weight, const host::Threads&) {
  auto* to = static_cast<float*>(weight.data);
  const auto append_row = [&](int32_t p, int64_t row) {
    const auto& part = source.part[p];
    for (int64_t i = 0; i < part.cols; ++i) *to++ = element(part.data, part.dtype, row * part.row_stride + i);
  };
  if (source.interleave) {  // gate 0, up 0, gate 1, up 1, …
    for (int64_t row = 0; row < source.part[0].rows; ++row) {
      append_row(0, row);
      append_row(1, row);
    }
  } else {
    for (int32_t p = 0; p < source.parts; ++p) {
      for (int64_t row = 0; row < source.part[p].rows; ++row) append_row(p, row);
    }
  }
  weight.dtype = NVLM_F32;
}

}  // namespace nvlm::reference
