#include "engine/request_tiles.h"
#include "platform/error.h"

#include <string>

namespace nvlm {
namespace {

constexpr int kMostTiles = 1024;  // far above any grid there is; keeps sums of tiles inside an int

}  // namespace

int tile_count(const ModelConfig& config, const ImageInput& image) {
  const bool fits = image.pixels && image.width > 0 && image.height > 0 && image.columns > 0 && image.rows > 0 &&
                    image.columns <= kMostTiles && image.rows <= kMostTiles / image.columns;
  if (!fits) {
    throw Error("internal", "An image of " + std::to_string(image.width) + "x" + std::to_string(image.height) +
                                " pixels can't be cut into " + std::to_string(image.columns) + "x" +
                                std::to_string(image.rows) + " tiles. Please report this.");
  }
  const int tiles = image.columns * image.rows;
  return tiles > 1 && config.use_thumbnail ? tiles + 1 : tiles;
}

std::vector<uint8_t> cut_images(Model& model, const std::vector<ImageInput>& images, const ParallelFor& parallel_for) {
  const ModelConfig& config = model.config();
  const auto side = static_cast<size_t>(config.tile_size);
  const size_t tile_bytes = side * side * 3;
  size_t tiles = 0;
  for (const ImageInput& image : images) tiles += static_cast<size_t>(tile_count(config, image));
  std::vector<uint8_t> pixels(tiles * tile_bytes);
  uint8_t* out = pixels.data();
  for (const ImageInput& image : images) {
    const int count = tile_count(config, image);
    const bool thumbnail = count > image.columns * image.rows;
    const nvlm_picture picture{image.pixels, image.width,      image.height, image.columns,
                               image.rows,   config.tile_size, thumbnail};
    if (!model.cut_tiles(picture, out))
      cut_tiles(image.pixels, image.width, image.height, image.columns, image.rows, config.tile_size, thumbnail, out,
                parallel_for);
    out += static_cast<size_t>(count) * tile_bytes;
  }
  return pixels;
}

}  // namespace nvlm
