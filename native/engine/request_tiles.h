// The images of a request as the engine sees them before the encoder: how many tiles they make, and cutting them.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/request.h"
#include "image/cut_tiles.h"
#include "model/model.h"

namespace nvlm {

// Tiles of an image given as pixels, the thumbnail included (spec section 3, step 4). Throws Error("internal") when
// grid or size make no sense.
int tile_count(const ModelConfig& config, const ImageInput& image);

// u8 [tiles of all images, side, side, 3]; cut by the model's device, or where that leaves it to the host, on the
// threads of parallel_for.
std::vector<uint8_t> cut_images(Model& model, const std::vector<ImageInput>& images, const ParallelFor& parallel_for);

}  // namespace nvlm
