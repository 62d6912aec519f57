#include "reference/kernels.h"

namespace nvlm::reference {
namespace {

// Spec section 3.5: red, green, blue.
constexpr double kMean[3] = {0.485, 0.456, 0.406}, kStd[3] = {0.229, 0.224, 0.225};

}  // namespace

void patch_embed(const host::Op& op) {
  const int64_t side = op.c().side, patch = op.c().patch, grid = side / patch, n = op.out_cols;
  for (int64_t tile = 0; tile < op.batch->tiles; ++tile) {
    const uint8_t* pixels = op.batch->pixels + tile * side * side * 3;
    float* out = op.out + tile * (grid * grid + 1) * n;
    for (int64_t i = 0; i < n; ++i) out[i] = op.class_token->floats()[i] + op.positions->floats()[i];
    for (int64_t p = 0; p < grid * grid; ++p) {
      const int64_t top = p / grid * patch, left = p % grid * patch;
      for (int64_t i = 0; i < n; ++i) {
        const float* w = row(*op.w, i);
        double sum = op.bias->floats()[i];
        for (int64_t channel = 0; channel < 3; ++channel) {
          for (int64_t y = 0; y < patch; ++y) {
            for (int64_t x = 0; x < patch; ++x) {
              const uint8_t pixel = pixels[((top + y) * side + left + x) * 3 + channel];
              sum += (pixel / 255.0 - kMean[channel]) / kStd[channel] * w[(channel * patch + y) * patch + x];
            }
          }
        }
        out[(p + 1) * n + i] = static_cast<float>(sum + op.positions->floats()[(p + 1) * n + i]);
      }
    }
  }
}

}  // namespace nvlm::reference
