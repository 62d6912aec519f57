// patch_embed (spec section 4): a stride-equals-patch convolution is a product with rows gathered from the pixels.
// Threads take groups of as many patches as the product takes rows.
#include "cpu/normalise.h"
#include "cpu/set/kernels.h"
#include "cpu/set/linear.h"

namespace nvlm::cpu::NVLM_CPU_SET {

// The gathered rows of each thread.
uint64_t patch_embed_scratch(const host::Op& op) {
  const auto patch = static_cast<uint64_t>(op.c().patch);
  return static_cast<uint64_t>(op.threads.count) * kRows * 3 * patch * patch * sizeof(float);
}

void patch_embed(const host::Op& op) {
  const int64_t side = op.c().side, patch = op.c().patch, grid = side / patch, patches = grid * grid,
                k = 3 * patch * patch, n = op.out_cols;
  const int64_t groups = (patches + kRows - 1) / kRows;
  float level[3][256];  // every value a pixel can have
  for (int channel = 0; channel < 3; ++channel) {
    for (int value = 0; value < 256; ++value) level[channel][value] = normalised(static_cast<uint8_t>(value), channel);
  }
  op.parallel(op.batch->tiles * groups, [&](int64_t task, int thread) {
    const int64_t tile = task / groups, first = task % groups * kRows;
    const auto count = static_cast<int>(std::min<int64_t>(kRows, patches - first));
    const uint8_t* pixels = op.batch->pixels + tile * side * side * 3;
    float* out = op.out + tile * (patches + 1) * n;
    const float* positions = op.positions->floats();
    if (first == 0) {
      for (int64_t i = 0; i < n; ++i) out[i] = op.class_token->floats()[i] + positions[i];
    }
    float* rows = static_cast<float*>(op.scratch) + thread * kRows * k;
    const float* x[kRows];
    for (int p = 0; p < count; ++p) {
      const int64_t top = (first + p) / grid * patch, left = (first + p) % grid * patch;
      float* row = rows + p * k;
      x[p] = row;
      for (int64_t channel = 0; channel < 3; ++channel) {
        for (int64_t y = 0; y < patch; ++y) {
          const uint8_t* line = pixels + ((top + y) * side + left) * 3 + channel;
          for (int64_t i = 0; i < patch; ++i) *row++ = level[channel][line[i * 3]];
        }
      }
    }
    for (int64_t column = 0; column < n; column += kPanel) {
      float product[kRows * kPanel];
      multiply_row_block(x, count, *op.w, column / kPanel, product);
      for (int p = 0; p < count; ++p) {
        float* to = out + (first + p + 1) * n;
        const float* position = positions + (first + p + 1) * n;
        for (int64_t i = column; i < std::min(n, column + kPanel); ++i)
          to[i] = product[p * kPanel + (i - column)] + op.bias->floats()[i] + position[i];
      }
    }
  });
}

}  // namespace nvlm::cpu::NVLM_CPU_SET
