// Resizing a picture and cutting it into tiles, byte for byte as image/resample.cc and image/cut_tiles.cc do (Pillow's
// bicubic): rgb u8 [height, width, 3] -> out u8 [rows * columns, side, side, 3]. The weights come from the host
// (bicubic_taps), fixed point with 22 fractional bits; sums are int32 and exact, so that no order of additions matters.
//
// Two passes, as on the host: across, u8 [height, columns * side, 3] in scratch; then down, straight into the tiles. A
// pass whose size does not change is left out.
// across: grid: 128 pixels x 4 rows | block: 128 threads, a pixel of 4 rows each, so that a weight is loaded once for
// 12 products down: grid: 128 x 4 bytes of a row, rows | block: 128 threads, 4 bytes each
// shared: none | bound by the second-level cache: each source byte is read by the taps of 4 / scale outputs (across)
// and as many rows (down)
#include "cuda/launchers.h"

namespace nvlm::gpu {
namespace {

constexpr int kThreads = 128;
constexpr int kRows = 4;   // of a thread, across
constexpr int kBytes = 4;  // of a thread, down
constexpr int kFraction = 22;
constexpr int32_t kHalf = 1 << (kFraction - 1);

struct AcrossArgs {
  const uint8_t* in;  // [height, width, 3]
  uint8_t* out;       // [height, taps.out, 3]
  int32_t width, height;
  DeviceTaps taps;
};

struct DownArgs {
  const uint8_t* in;  // [taps.in, row_bytes]; rows are the output's when there are no taps
  uint8_t* out;       // tiles
  int32_t row_bytes, height, columns, side;
  DeviceTaps taps;
};

__device__ __forceinline__ uint8_t to_byte(int32_t sum) {
  const int32_t x = sum >> kFraction;
  return static_cast<uint8_t>(x < 0 ? 0 : x > 255 ? 255 : x);
}

__global__ void __launch_bounds__(kThreads) across_kernel(const __grid_constant__ AcrossArgs a) {
  const int32_t x = static_cast<int32_t>(blockIdx.x * kThreads + threadIdx.x),
                y = static_cast<int32_t>(blockIdx.y) * kRows;
  if (x >= a.taps.out) return;
  const int32_t first = a.taps.first[x], begin = a.taps.offset[x], count = a.taps.offset[x + 1] - begin;
  const int32_t* weight = a.taps.weight + begin;

  // The last rows may be fewer: the missing ones take the last row again, and aren't stored.
  const uint8_t* row[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r)
    row[r] = a.in + (static_cast<int64_t>(y + r < a.height ? y + r : a.height - 1) * a.width + first) * 3;
  int32_t sum[kRows][3];
#pragma unroll
  for (int r = 0; r < kRows; ++r) sum[r][0] = sum[r][1] = sum[r][2] = kHalf;
  for (int32_t t = 0; t < count; ++t) {
    const int32_t w = weight[t];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int c = 0; c < 3; ++c) sum[r][c] += w * row[r][3 * t + c];
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (y + r >= a.height) break;
    uint8_t* to = a.out + (static_cast<int64_t>(y + r) * a.taps.out + x) * 3;
#pragma unroll
    for (int c = 0; c < 3; ++c) to[c] = to_byte(sum[r][c]);
  }
}

// `words`: rows of source and tiles are whole words of 4 bytes.
template <bool words>
__global__ void __launch_bounds__(kThreads) down_kernel(const __grid_constant__ DownArgs a) {
  const int32_t at = static_cast<int32_t>(blockIdx.x * kThreads + threadIdx.x) * kBytes,
                y = static_cast<int32_t>(blockIdx.y);
  if (at >= a.row_bytes) return;
  const int32_t bytes = a.row_bytes - at < kBytes ? a.row_bytes - at : kBytes;

  // The row, or its taps.
  int32_t first = y, count = 1, begin = 0;
  const bool resized = a.taps.out != 0;
  if (resized) first = a.taps.first[y], begin = a.taps.offset[y], count = a.taps.offset[y + 1] - begin;
  const uint8_t* from = a.in + static_cast<int64_t>(first) * a.row_bytes + at;
  int32_t sum[kBytes];
#pragma unroll
  for (int i = 0; i < kBytes; ++i) sum[i] = kHalf;
#pragma unroll 4
  for (int32_t t = 0; t < count; ++t, from += a.row_bytes) {
    const int32_t w = resized ? a.taps.weight[begin + t] : 1 << kFraction;
    if constexpr (words) {
      const uint32_t word = *reinterpret_cast<const uint32_t*>(from);
#pragma unroll
      for (int i = 0; i < kBytes; ++i) sum[i] += w * static_cast<int32_t>(word >> (8 * i) & 255);
    } else {
#pragma unroll
      for (int i = 0; i < kBytes; ++i) {
        if (i < bytes) sum[i] += w * from[i];
      }
    }
  }

  // To its tile; without whole words each byte may be in another.
  const int32_t tile_bytes = a.side * 3;
  const auto place = [&](int32_t byte) {
    const int64_t tile = static_cast<int64_t>(y / a.side) * a.columns + byte / tile_bytes;
    return a.out + (tile * a.side + y % a.side) * tile_bytes + byte % tile_bytes;
  };
  if constexpr (words) {
    uint32_t word = 0;
#pragma unroll
    for (int i = 0; i < kBytes; ++i) word |= static_cast<uint32_t>(to_byte(sum[i])) << (8 * i);
    *reinterpret_cast<uint32_t*>(place(at)) = word;
  } else {
#pragma unroll
    for (int i = 0; i < kBytes; ++i) {
      if (i < bytes) *place(at + i) = to_byte(sum[i]);
    }
  }
}

bool is_aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 4 == 0; }

constexpr int64_t kMaxSide = 1 << 20;
constexpr int64_t kMaxRows = 65535;  // of a grid

}  // namespace

int64_t resize_scratch(const Resize& r) { return r.across.out == 0 ? 0 : int64_t{3} * r.height * r.across.out; }

Status enqueue_resize(const Resize& r) {
  // Sizes, and taps for exactly those axes that change.
  if (r.width <= 0 || r.height <= 0 || r.columns <= 0 || r.rows <= 0 || r.side <= 0 || r.width > kMaxSide ||
      r.height > kMaxSide)
    return Status::invalid;
  const int64_t out_width = int64_t{r.columns} * r.side, out_height = int64_t{r.rows} * r.side;
  if (out_width > kMaxSide || out_height > kMaxRows || (r.height + kRows - 1) / kRows > kMaxRows)
    return Status::invalid;
  if (r.across.out != (out_width == r.width ? 0 : out_width) || r.down.out != (out_height == r.height ? 0 : out_height))
    return Status::invalid;
  if (!r.rgb || !r.out || (r.across.out && !r.scratch)) return Status::invalid;

  const uint8_t* rows = r.rgb;
  if (r.across.out) {
    const AcrossArgs args{r.rgb, r.scratch, r.width, r.height, r.across};
    const dim3 grid(static_cast<uint32_t>((out_width + kThreads - 1) / kThreads),
                    static_cast<uint32_t>((r.height + kRows - 1) / kRows));
    if (const Status s = launch(across_kernel, Launch{grid, dim3(kThreads), 0, r.stream}, args); s != Status::ok)
      return s;
    rows = r.scratch;
  }
  const auto row_bytes = static_cast<int32_t>(3 * out_width);
  const DownArgs args{rows, r.out, row_bytes, static_cast<int32_t>(out_height), r.columns, r.side, r.down};
  const Launch at{dim3(static_cast<uint32_t>((row_bytes + kThreads * kBytes - 1) / (kThreads * kBytes)),
                       static_cast<uint32_t>(out_height)),
                  dim3(kThreads), 0, r.stream};
  return 3 * r.side % kBytes == 0 && is_aligned(rows) && is_aligned(r.out) ? launch(down_kernel<true>, at, args)
                                                                           : launch(down_kernel<false>, at, args);
}

}  // namespace nvlm::gpu
