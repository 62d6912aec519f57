// patch_embed. What could break: order of channel, y, x; patches behind blocks of 6; column tails; class row and
// positions of several tiles; normalisation of every level.
//
// Tolerance as for linear: (k + 6)·u·A with k = 3·patch² and A = Σ|pixel·w| + |bias| + |position|, pixels up to 2.7 in
// size.
#include "cases/cases.h"

namespace nvlm::test {

OpCase patch_embed_case(int64_t tiles, int32_t side, int32_t patch, int64_t n, nvlm_dtype dtype) {
  OpCase c;
  c.name = "patch_embed " + std::to_string(tiles) + " tiles " + std::to_string(side) + "/" + std::to_string(patch) +
           " to " + std::to_string(n) + " " + dtype_name(dtype);
  Random random(c.name);
  const int64_t grid = side / patch, patches = grid * grid, k = int64_t{3} * patch * patch;
  c.batch.tiles = tiles;
  for (int64_t i = 0; i < tiles * side * side * 3; ++i) c.batch.pixels.push_back(static_cast<uint8_t>(random.bits()));
  c.record.op = NVLM_PATCH_EMBED;
  c.record.c.side = side;
  c.record.c.patch = patch;
  c.record.out = c.add(Tensor{NVLM_TILES, patches + 1, n, {}});
  const Weight w = matrix_weight(random, NVLM_MATRIX, {n}, k, dtype);
  const std::vector<float> bias = random.uniforms(n), positions = random.uniforms((patches + 1) * n);
  c.record.w = c.add(w);
  c.record.bias = c.add(vector_weight(bias));
  c.record.class_token = c.add(vector_weight(random.uniforms(n)));
  c.record.positions = c.add(vector_weight(positions));
  c.flops = 2.0 * static_cast<double>(tiles * patches * n * k);
  const std::vector<uint8_t> pixels = c.batch.pixels;
  c.bounds = [=](const std::vector<float>& truth) {
    constexpr double kMean[] = {0.485, 0.456, 0.406}, kStd[] = {0.229, 0.224, 0.225};
    Bounds b;
    b.rms = 4 * kUnit;
    for (int64_t i = 0; i < static_cast<int64_t>(truth.size()); ++i) {
      const int64_t tile = i / n / (patches + 1), row = i / n % (patches + 1), column = i % n;
      double size =
          std::abs(positions[static_cast<size_t>(row * n + column)]) + std::abs(bias[static_cast<size_t>(column)]) + 1;
      for (int64_t j = 0; row > 0 && j < k; ++j) {
        const int64_t channel = j / patch / patch, y = (row - 1) / grid * patch + j / patch % patch,
                      x = (row - 1) % grid * patch + j % patch;
        const double value =
            (pixels[static_cast<size_t>(((tile * side + y) * side + x) * 3 + channel)] / 255.0 - kMean[channel]) /
            kStd[channel];
        size += std::abs(value * w.values[static_cast<size_t>(column * k + j)]);
      }
      b.limit.push_back((static_cast<double>(k) + 6) * kUnit * size);
      b.size.push_back(size);
    }
    return b;
  };
  return c;
}

std::vector<OpCase> patch_embed_cases() {
  return {patch_embed_case(1, 4, 4, 1, NVLM_F32),    patch_embed_case(2, 28, 14, 33, NVLM_BF16),
          patch_embed_case(1, 42, 14, 16, NVLM_F16), patch_embed_case(3, 15, 5, 47, NVLM_F32),
          patch_embed_case(2, 20, 4, 24, NVLM_BF16), patch_embed_case(1, 2, 1, 8, NVLM_F32),
          patch_embed_case(1, 4, 4, 8, NVLM_F32),    patch_embed_case(2, 28, 14, 40, NVLM_BF16),
          patch_embed_case(3, 15, 5, 48, NVLM_F32)};
}

}  // namespace nvlm::test
