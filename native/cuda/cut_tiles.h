// A picture resized and cut on the device: from host memory, to host memory (ops/ops.h, cut_tiles).
#pragma once

#include "cuda/device.h"

namespace nvlm::gpu {

// Device memory while it runs: the picture, its tiles, the picture as wide as its tiles, weights of four axes. Returns when the tiles are there.
nvlm_status cut_tiles(nvlm_device* device, const nvlm_picture& picture, uint8_t* tiles);

}  // namespace nvlm::gpu
