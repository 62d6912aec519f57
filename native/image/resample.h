// Pillow's bicubic resampling, bit for bit (spec section 3): two passes of integer weights over RGB bytes, each rounded
// to 8 bits. The order of the passes is Pillow's before 12.2, which resizes what is over 100 times as high as wide
// vertically first.
#pragma once

#include <cstdint>
#include <vector>

namespace nvlm {

// Weights of one axis. Output i is the sum over t < offset[i + 1] − offset[i] of weight[offset[i] + t] · input[first[i]
// + t], in fixed point with 22 fractional bits. All taps lie inside the input.
struct AxisTaps {
  int in;
  int out;
  std::vector<std::int32_t> first;   // [out]
  std::vector<std::int64_t> offset;  // [out + 1]
  std::vector<std::int32_t> weight;  // about 4·max(in, out) in all
};

// Antialiased cubic, a = −0.5. in and out are positive.
AxisTaps bicubic_taps(int in, int out);

// Horizontal pass over one row: row u8 [in, 3] -> out u8 [out, 3].
void resample_row(const std::uint8_t* row, const AxisTaps& taps, std::uint8_t* out);

// Vertical pass for one output row: out[j] = weighted sum over t < count of rows[t · stride + j], j < bytes. sums:
// scratch [bytes].
void blend_rows(const std::uint8_t* rows, std::int64_t stride, const std::int32_t* weight, std::int64_t count,
                std::int64_t bytes, std::int32_t* sums, std::uint8_t* out);

}  // namespace nvlm
