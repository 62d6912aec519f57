// From RGB pixels to the tiles the encoder reads (spec section 3, steps 3 and 4). The grid is chosen by the caller.
#pragma once

#include <cstdint>
#include <functional>

namespace nvlm {

// Runs body(0) … body(n − 1) in any order, on any threads, and returns when all are done.
using ParallelFor = std::function<void(std::int64_t n, const std::function<void(std::int64_t)>& body)>;

// rgb: u8 [height, width, 3]. out: u8 [tiles, side, side, 3], tiles = columns·rows, row-major, plus 1 when `thumbnail`
// (the whole image, last). A thumbnail of a single tile would be the same picture: the caller asks for one only when
// columns·rows > 1.
// Throws internal when a size is not positive or too large, out-of-memory when scratch memory is refused. Scratch
// memory: 16 bytes for each pixel of the image's width and height, and for each running body about 4 MiB (more only
// where eight resized rows need more source rows than that).
void cut_tiles(const std::uint8_t* rgb, int width, int height, int columns, int rows, int side, bool thumbnail,
               std::uint8_t* out, const ParallelFor& parallel_for);

}  // namespace nvlm
