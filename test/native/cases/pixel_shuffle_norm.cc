// pixel_shuffle_norm. What could break: block order, the class row, v1's transposed token grid, several tiles.
// Tolerance as for layer_norm, with inputs of mean about zero: an element's size is at most (|ŷ| + 1)·|w| + |b| with ŷ
// the normalised value. A misplaced patch is off by about 1, so the order can't hide in it.
#include "cases/cases.h"

namespace nvlm::test {

OpCase pixel_shuffle_norm_case(int64_t tiles, int32_t grid, int32_t ratio, int64_t n, bool transpose) {
  OpCase c;
  c.name = "pixel_shuffle_norm " + std::to_string(tiles) + " tiles, grid " + std::to_string(grid) + "/" +
           std::to_string(ratio) + ", " + std::to_string(n) + (transpose ? " columns, v1" : " columns, v2");
  Random random(c.name);
  const int64_t rows = int64_t{grid} * grid + 1, side = grid / ratio, cols = n * ratio * ratio;
  c.batch.tiles = tiles;
  c.record.op = NVLM_PIXEL_SHUFFLE_NORM;
  c.record.c.grid = grid;
  c.record.c.ratio = ratio;
  c.record.c.transpose = transpose ? 1 : 0;
  c.record.c.eps = 1e-5f;
  c.record.in = c.add(Tensor{NVLM_TILES, rows, n, random.uniforms(tiles * rows * n)});
  c.record.out = c.add(Tensor{NVLM_TILES, side * side, cols, {}});
  c.bytes = 8.0 * static_cast<double>(tiles * (rows - 1) * n);
  const std::vector<float> w = random.uniforms(cols, 0.5f, 2), bias = random.uniforms(cols);
  c.record.w = c.add(vector_weight(w));
  c.record.bias = c.add(vector_weight(bias));
  c.bounds = [=](const std::vector<float>& truth) {
    Bounds b;
    b.rms = (4 + std::sqrt(static_cast<double>(cols)) / 2) * kUnit;
    for (size_t i = 0; i < truth.size(); ++i) {
      const size_t column = i % static_cast<size_t>(cols);
      const double size = std::abs(truth[i] - bias[column]) + std::abs(w[column]) + std::abs(bias[column]);
      b.limit.push_back((static_cast<double>(cols) + 8) * kUnit * size);
      b.size.push_back(size);
    }
    return b;
  };
  return c;
}

std::vector<OpCase> pixel_shuffle_cases() {
  std::vector<OpCase> cases;
  for (const bool transpose : {false, true}) {
    for (const int64_t tiles : {1, 3}) {
      cases.push_back(pixel_shuffle_norm_case(tiles, 4, 2, 9, transpose));
      cases.push_back(pixel_shuffle_norm_case(tiles, 6, 3, 16, transpose));
      cases.push_back(pixel_shuffle_norm_case(tiles, 2, 1, 40, transpose));
      cases.push_back(pixel_shuffle_norm_case(tiles, 6, 2, 7, transpose));
      cases.push_back(pixel_shuffle_norm_case(tiles, 4, 2, 8, transpose));
      cases.push_back(pixel_shuffle_norm_case(tiles, 6, 2, 24, transpose));
    }
  }
  return cases;
}

}  // namespace nvlm::test
