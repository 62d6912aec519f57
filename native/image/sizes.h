// Sizes of a picture and its grid of tiles, checked before anything is computed from them.
#pragma once

#include <string>

namespace nvlm {

// What can't be cut, in words ("the image is 0×7"); empty: each size is positive, and no product of them with 3 or 4
// leaves 64 bits.
std::string wrong_sizes(int width, int height, int columns, int rows, int side);

}  // namespace nvlm
