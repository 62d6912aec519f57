// What a pixel is to the encoder, worked out apart from the kernels that are judged by it.
#pragma once

#include <cstdint>

namespace nvlm::test {

// (x/255 − mean)/std in float32 (spec section 3.5); channel 0 red, 1 green, 2 blue.
inline float normalised(uint8_t value, int channel) {
  constexpr float kMean[] = {0.485f, 0.456f, 0.406f}, kStd[] = {0.229f, 0.224f, 0.225f};
  return (static_cast<float>(value) / 255.0f - kMean[channel]) / kStd[channel];
}

}  // namespace nvlm::test
