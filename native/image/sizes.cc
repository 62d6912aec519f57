#include "image/sizes.h"

#include <cstdint>

namespace nvlm {
namespace {

constexpr int kMaxSide = 1 << 20;  // pixels of a side
constexpr std::int64_t kMaxPixels = std::int64_t{1} << 32;
constexpr int kMaxTiles = 4096;

std::string pair(int a, int b) { return std::to_string(a) + "×" + std::to_string(b); }

}  // namespace

std::string wrong_sizes(int width, int height, int columns, int rows, int side) {
  // Each is bounded before it enters a product.
  if (width <= 0 || height <= 0 || width > kMaxSide || height > kMaxSide || std::int64_t{width} * height > kMaxPixels)
    return "the image is " + pair(width, height);
  if (columns <= 0 || rows <= 0 || columns > kMaxTiles || rows > kMaxTiles || columns * rows > kMaxTiles)
    return "the grid is " + pair(columns, rows);
  if (side <= 0 || std::int64_t{columns} * side > kMaxSide || std::int64_t{rows} * side > kMaxSide)
    return "the tile side is " + std::to_string(side);
  return {};
}

}  // namespace nvlm
