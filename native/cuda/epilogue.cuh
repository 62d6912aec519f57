// What happens to a finished tile of a product: bias, the op's function, residual, and stores. The tile lies in shared
// memory as float32; each thread keeps four neighbouring columns and walks down the rows, so that bias and scale are
// read once, a warp's stores are whole lines, and the code is small. Straight from the fragments it would be unrolled
// once per 16 x 8 piece, for each op.
#pragma once

#include <cstdint>

#include "cuda/activation.cuh"
#include "cuda/bf16.h"
#include "cuda/ptx/sm80.h"

namespace nvlm::gpu {

enum class Finish : int32_t {
  store,  // bf16
  gelu,
  swiglu,    // columns 2i and 2i + 1 are a gate and its up value; half as many columns
  residual,  // out += scale * value
  floats,    // float32
  // Row r of tile r / patches goes to out row r + r / patches + 1, plus the position of that row within the tile.
  positions
};

struct Epilogue {
  Finish finish;
  bool tanh_gate;       // scale is tanh(scale[0])
  int32_t patches;      // of a tile
  int64_t out_columns;  // row pitch of `out`
  void* out;
  const float* bias;       // [columns]; null: none
  const float* scale;      // [columns] or [1]; null: 1
  const float* positions;  // [patches + 1, columns]
};

namespace epilogue {

// Where an element of the tile lies. Groups of 8 columns are swapped by row, so that fragments (8 rows x 4 pairs) are
// stored without bank conflicts.
template <int columns>
__device__ __forceinline__ int place(int row, int column) {
  static_assert(columns % 64 == 0);
  return row * columns + (column ^ (row % 8) * 8);
}

// Four columns of a row. `whole`: they exist, and lie where one access takes them all.
struct Columns {
  int first, count;
  bool whole;
};

__device__ __forceinline__ void load4(float (&x)[4], const float* from, const Columns& c) {
#pragma unroll
  for (int i = 0; i < 4; ++i) x[i] = i < c.count ? from[i] : 0;
}

__device__ __forceinline__ uint2 load_bf16(const bf16* from, const Columns& c) {
  if (c.whole) return *reinterpret_cast<const uint2*>(from);
  bf16 x[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) x[i] = i < c.count ? from[i] : bf16{0};
  return {pack(x[0], x[1]), pack(x[2], x[3])};
}

__device__ __forceinline__ void store_bf16(bf16* to, const Columns& c, const float (&x)[4]) {
  if (c.whole) {
    *reinterpret_cast<uint2*>(to) = {ptx::round_pair(x[0], x[1]), ptx::round_pair(x[2], x[3])};
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i < c.count) to[i] = to_bf16(x[i]);
  }
}

// The rows of a tile that one thread walks, and its columns of them.
template <int tile_columns, int threads>
struct Walk {
  static constexpr int kStep = threads / (tile_columns / 4);
  static_assert(threads % (tile_columns / 4) == 0);
  int first_row, row, end;  // `row` counts within the tile
  Columns columns;

  __device__ Walk(int tile_rows, int first_row_, int first_column, int rows, int all_columns)
      : first_row(first_row_),
        row(static_cast<int>(threadIdx.x) / (tile_columns / 4)),
        end(min(tile_rows, rows - first_row_)) {
    columns.first = first_column + static_cast<int>(threadIdx.x) % (tile_columns / 4) * 4;
    columns.count = min(4, all_columns - columns.first);
    columns.whole = all_columns % 4 == 0;
    if (columns.count <= 0) end = 0;
  }
  static __device__ int min(int a, int b) { return a < b ? a : b; }
  __device__ float4* at(float* tile, int r) const {
    return reinterpret_cast<float4*>(tile + place<tile_columns>(r, columns.first % tile_columns));
  }
};

// All threads of the block, behind a barrier that makes the tile visible.
template <int tile_rows, int tile_columns, int threads>
__device__ __forceinline__ void finish(const Epilogue& e, float* tile, int first_row, int first_column, int rows,
                                       int all_columns) {
  Walk<tile_columns, threads> walk(tile_rows, first_row, first_column, rows, all_columns);
  const Columns c = walk.columns;
  if (walk.row >= walk.end) return;
  float bias[4] = {0, 0, 0, 0};
  if (e.bias) load4(bias, e.bias + c.first, c);
  const auto value = [&](int row, float(&x)[4]) {
    const float4 v = *walk.at(tile, row);
    x[0] = v.x + bias[0];
    x[1] = v.y + bias[1];
    x[2] = v.z + bias[2];
    x[3] = v.w + bias[3];
  };
  const auto out_row = [&](int row) { return static_cast<int64_t>(walk.first_row + row); };

  switch (e.finish) {
    case Finish::store:
    case Finish::gelu:
#pragma unroll 1
      for (int row = walk.row; row < walk.end; row += walk.kStep) {
        float x[4];
        value(row, x);
        if (e.finish == Finish::gelu) {
#pragma unroll
          for (int i = 0; i < 4; ++i) x[i] = gelu(x[i]);
        }
        store_bf16(static_cast<bf16*>(e.out) + out_row(row) * e.out_columns + c.first, c, x);
      }
      break;

    case Finish::swiglu:
#pragma unroll 1
      for (int row = walk.row; row < walk.end; row += walk.kStep) {
        float x[4];
        value(row, x);
        bf16* to = static_cast<bf16*>(e.out) + out_row(row) * e.out_columns + c.first / 2;
        const float first = silu(x[0]) * x[1], second = silu(x[2]) * x[3];
        if (c.whole) {
          *reinterpret_cast<uint32_t*>(to) = ptx::round_pair(first, second);
        } else {
          to[0] = to_bf16(first);
          if (c.count > 2) to[1] = to_bf16(second);
        }
      }
      break;

    case Finish::residual: {
      float scale[4] = {1, 1, 1, 1};
      if (e.tanh_gate) {
        scale[0] = scale[1] = scale[2] = scale[3] = tanhf(e.scale[0]);
      } else if (e.scale) {
        load4(scale, e.scale + c.first, c);
      }
      // Four rows are under way at once, or each would wait for its own residual.
      constexpr int kAhead = 4;
#pragma unroll 1
      for (int row = walk.row; row < walk.end; row += kAhead * walk.kStep) {
        uint2 before[kAhead];
#pragma unroll
        for (int u = 0; u < kAhead; ++u) {
          const int r = row + u * walk.kStep;
          before[u] = r < walk.end
                          ? load_bf16(static_cast<const bf16*>(e.out) + out_row(r) * e.out_columns + c.first, c)
                          : make_uint2(0, 0);
        }
#pragma unroll
        for (int u = 0; u < kAhead; ++u) {
          const int r = row + u * walk.kStep;
          if (r >= walk.end) break;
          float x[4];
          value(r, x);
          x[0] = low(before[u].x) + scale[0] * x[0];
          x[1] = high(before[u].x) + scale[1] * x[1];
          x[2] = low(before[u].y) + scale[2] * x[2];
          x[3] = high(before[u].y) + scale[3] * x[3];
          store_bf16(static_cast<bf16*>(e.out) + out_row(r) * e.out_columns + c.first, c, x);
        }
      }
      break;
    }

    case Finish::floats:
#pragma unroll 1
      for (int row = walk.row; row < walk.end; row += walk.kStep) {
        float x[4];
        value(row, x);
        float* to = static_cast<float*>(e.out) + out_row(row) * e.out_columns + c.first;
        if (c.whole) {
          *reinterpret_cast<float4*>(to) = make_float4(x[0], x[1], x[2], x[3]);
        } else {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            if (i < c.count) to[i] = x[i];
          }
        }
      }
      break;

    case Finish::positions:
#pragma unroll 1
      for (int row = walk.row; row < walk.end; row += walk.kStep) {
        float x[4], position[4];
        value(row, x);
        const int image = (walk.first_row + row) / e.patches, patch = (walk.first_row + row) % e.patches;
        load4(position, e.positions + int64_t{patch + 1} * all_columns + c.first, c);
#pragma unroll
        for (int i = 0; i < 4; ++i) x[i] += position[i];
        store_bf16(static_cast<bf16*>(e.out) + (out_row(row) + image + 1) * e.out_columns + c.first, c, x);
      }
      break;
  }
}

}  // namespace epilogue
}  // namespace nvlm::gpu
