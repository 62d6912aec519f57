#include "image/resample.h"

#include <algorithm>
#include <cmath>

namespace nvlm {
namespace {

// 32 bits, less 8 for the pixel, less 2 for sums of weights above 1 (a cubic overshoots) and the sign. A sum of
// |weights| stays below 2, so that |sum| < 2 · 255 · 2^22 < 2^31.
constexpr int kFraction = 22;
constexpr std::int32_t kHalf = 1 << (kFraction - 1);

double cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
  return 0.0;
}

std::uint8_t to_byte(std::int32_t sum) { return static_cast<std::uint8_t>(std::clamp(sum >> kFraction, 0, 255)); }

}  // namespace

AxisTaps bicubic_taps(int in, int out) {
  AxisTaps taps{in, out, {}, {0}, {}};
  taps.first.reserve(static_cast<std::size_t>(out));
  taps.offset.reserve(static_cast<std::size_t>(out) + 1);

  const double scale = static_cast<double>(in) / out;
  const double filter_scale = std::max(scale, 1.0);
  const double support = 2.0 * filter_scale;
  // A reciprocal and a product, as in Pillow: a quotient would round differently.
  const double inverse = 1.0 / filter_scale;
  std::vector<double> weights;
  for (int i = 0; i < out; ++i) {
    const double center = (i + 0.5) * scale;
    const int begin = std::max(static_cast<int>(center - support + 0.5), 0);
    const int end = std::min(static_cast<int>(center + support + 0.5), in);
    weights.clear();
    double sum = 0;
    for (int tap = begin; tap < end; ++tap) {
      weights.push_back(cubic((tap - center + 0.5) * inverse));
      sum += weights.back();
    }
    for (double& weight : weights) {
      if (sum != 0.0) weight /= sum;
      // Half away from zero.
      taps.weight.push_back(static_cast<std::int32_t>((weight < 0 ? -0.5 : 0.5) + weight * (1 << kFraction)));
    }
    taps.first.push_back(begin);
    taps.offset.push_back(static_cast<std::int64_t>(taps.weight.size()));
  }
  return taps;
}

void resample_row(const std::uint8_t* row, const AxisTaps& taps, std::uint8_t* out) {
  for (int i = 0; i < taps.out; ++i, out += 3) {
    const std::int32_t* weight = taps.weight.data() + taps.offset[static_cast<std::size_t>(i)];
    const std::int32_t* const end = taps.weight.data() + taps.offset[static_cast<std::size_t>(i) + 1];
    const std::uint8_t* pixel = row + std::int64_t{3} * taps.first[static_cast<std::size_t>(i)];
    std::int32_t red = kHalf, green = kHalf, blue = kHalf;
    for (; weight != end; ++weight, pixel += 3) {
      red += *weight * pixel[0];
      green += *weight * pixel[1];
      blue += *weight * pixel[2];
    }
    out[0] = to_byte(red);
    out[1] = to_byte(green);
    out[2] = to_byte(blue);
  }
}

void blend_rows(const std::uint8_t* rows, std::int64_t stride, const std::int32_t* weight, std::int64_t count,
                std::int64_t bytes, std::int32_t* sums, std::uint8_t* out) {
  std::fill(sums, sums + bytes, kHalf);
  for (std::int64_t t = 0; t < count; ++t) {
    const std::uint8_t* const row = rows + t * stride;
    const std::int32_t w = weight[t];
    for (std::int64_t j = 0; j < bytes; ++j) sums[j] += w * row[j];
  }
  for (std::int64_t j = 0; j < bytes; ++j) out[j] = to_byte(sums[j]);
}

}  // namespace nvlm
