#include "ops/weight_source.h"

#include <cmath>
#include <cstring>

namespace nvlm {

nvlm_status check_source(const nvlm_weight_source& source, const char** wrong) {
  const auto fail = [wrong](nvlm_status status, const char* words) {
    *wrong = words;
    return status;
  };
  if (source.parts < 1 || source.parts > NVLM_MAX_PARTS) return fail(NVLM_INVALID, "a weight has no or too many parts");
  for (int32_t p = 0; p < source.parts; ++p) {
    const auto& part = source.part[p];
    if (part.rows < 1 || part.cols < 1 || part.row_stride < part.cols)
      return fail(NVLM_INVALID, "a weight's part has an impossible shape");
    if (source.use == NVLM_VECTOR ? part.rows != 1 : part.cols != source.part[0].cols)
      return fail(NVLM_INVALID, "a weight's parts do not fit together");
    if (source.use != NVLM_VECTOR && part.dtype != source.part[0].dtype) {
      return fail(NVLM_UNSUPPORTED, "tensors that are packed together are stored in different types");
    }
  }
  if (source.interleave && (source.parts != 2 || source.part[0].rows != source.part[1].rows)) {
    return fail(NVLM_INVALID, "interleaved parts differ in rows");
  }
  return NVLM_OK;
}

float stored_value(const void* data, nvlm_dtype dtype, int64_t i) {
  const char* at = static_cast<const char*>(data) + i * (dtype == NVLM_F32 ? 4 : 2);
  if (dtype == NVLM_F32) {
    float value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  uint16_t half;
  std::memcpy(&half, at, sizeof half);
  if (dtype == NVLM_BF16) {
    const uint32_t bits = static_cast<uint32_t>(half) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }
  const int exponent = (half >> 10) & 31, mantissa = half & 1023;
  float size;
  if (exponent == 31) {
    size = mantissa ? NAN : INFINITY;
  } else {
    size = exponent ? std::ldexp(1024.0f + static_cast<float>(mantissa), exponent - 25)
                    : std::ldexp(static_cast<float>(mantissa), -24);
  }
  return half & 0x8000 ? -size : size;
}

int64_t source_rows(const nvlm_weight_source& source) {
  int64_t rows = 0;
  for (int32_t p = 0; p < source.parts; ++p) rows += source.part[p].rows;
  return rows;
}

int64_t vector_length(const nvlm_weight_source& source) {
  int64_t length = 0;
  for (int32_t p = 0; p < source.parts; ++p) length += source.part[p].cols;
  return length;
}

SourceRow source_row(const nvlm_weight_source& source, int64_t r) {
  if (source.interleave) return {static_cast<int32_t>(r % 2), r / 2};
  int32_t part = 0;
  while (r >= source.part[part].rows) r -= source.part[part++].rows;
  return {part, r};
}

}  // namespace nvlm
