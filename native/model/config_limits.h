// Largest sizes taken from a config. With them no product of two sizes leaves 64 bits, and the values of every
// published model are far below.
#pragma once

namespace nvlm {

inline constexpr int kMaxWidth = 1 << 17;
inline constexpr int kMaxLayers = 1024;
inline constexpr int kMaxHeads = 1024;
inline constexpr int kMaxHeadDim = 1024;
inline constexpr int kMaxVocab = 1 << 22;
inline constexpr int kMaxPositions = 1 << 24;
inline constexpr int kMaxImageSize = 4096;
inline constexpr int kMaxGrid = 256;
inline constexpr int kMaxTiles = 64;

}  // namespace nvlm
