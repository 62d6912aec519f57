// A picture resized and cut on the device: from host memory, to host memory (ops/ops.h, cut_tiles).
#pragma once

#include <vector>

#include "cuda/device.h"
#include "cuda/launchers.h"
#include "image/resample.h"

namespace nvlm::gpu {

// An axis's weights as they go to the device, in one piece, and where each list stands there.
std::vector<int32_t> flat_taps(const AxisTaps& taps);
DeviceTaps taps_at(const int32_t* flat, const AxisTaps& taps);

// Device memory while it runs: the picture, its tiles, the picture as wide as its tiles, weights of four axes. Returns
// when the tiles are there.
nvlm_status cut_tiles(nvlm_device* device, const nvlm_picture& picture, uint8_t* tiles);

}  // namespace nvlm::gpu
