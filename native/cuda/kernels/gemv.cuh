// Products of 1 to 4 rows with a large weight: what gemv.cu, gemv_norm.cu and gemv_norm_qkv.cu share. Bodies are device
// functions, so that a persistent kernel of a whole decode step can be made of them.
//
// x [rows, k] bf16, w [n, pitch] bf16: a warp takes Shape::columns weight rows (a group) over the whole of k, or, where
// there are too few groups to fill the GPU, over each split-th 256th of k; the warps of a block then add up through
// shared memory. Every order of additions is fixed.
// A lane holds a ring of Shape::depth 16-byte loads per weight row and asks for the next as soon as it has used one,
// across the ends of stages and groups too: 4 KB in flight for each warp, 24 to 32 warps on a multiprocessor. The ring
// is filled before x is looked at: a launch that begins while the one before it still runs loads weights at once, and
// waits then. The next launch may begin as soon as this one's loads are on their way: its blocks get what room this one
// leaves, and have their own first weights when this one ends.
// Rejected: all of x in registers with k split over the block (no shared memory, but a block-wide sum for every group);
// x straight from the first-level cache (4 rows of 29568 don't fit).
#pragma once

#include "cuda/kernels/norm_row.cuh"
#include "cuda/op.h"
#include "cuda/ptx/common.h"
#include "cuda/ptx/sm90.h"

namespace nvlm::gpu::gemv {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kMaxRows = 4;
constexpr int kChunk = 8;  // elements of 16 bytes

template <int rows>
struct Shape {
  // More rows: x is read from shared memory for more columns at a time.
  static constexpr int columns = rows <= 2 ? 2 : 4;
  static constexpr int depth = 8 / columns;  // 8 loads in flight for each lane
  // Chunks of each row of x in shared memory at a time; whole turns of the ring for every split.
  static constexpr int stage = depth * 32 * kWarps;
  // Resident on a multiprocessor: at most 80 and 128 registers.
  static constexpr int blocks = rows <= 2 ? 3 : 2;
  static constexpr int values = rows * columns;  // sums of a warp, one a lane in the end
};

// ---- One warp, one group ----

__device__ __forceinline__ uint32_t word(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

template <int rows>
struct WarpProduct {
  static constexpr int kColumns = Shape<rows>::columns, kDepth = Shape<rows>::depth;
  const uint4* w;
  uint32_t start[kColumns];  // of the group's weight rows, in chunks: half the registers of pointers
  uint4 ring[kDepth][kColumns];
  float sum[rows][kColumns];
  int chunk, step, chunks;  // this lane's next chunk, the distance to the one behind, the end

  // `count` chunks of the weight rows at `start`; none: the warp has nothing to do.
  __device__ __forceinline__ void begin(int first, int distance, int count) {
    chunk = first, step = distance, chunks = count;
#pragma unroll
    for (int d = 0; d < kDepth; ++d) load(d, first + d * distance);
#pragma unroll
    for (int r = 0; r < rows; ++r) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) sum[r][c] = 0;
    }
  }

  // Chunks before `end`; x [rows][pitch] starts at chunk `from`. Lanes may leave at different times: nothing collective
  // in here.
  __device__ __forceinline__ void advance(const uint4* x, int pitch, int from, int end) {
    if (end > chunks) end = chunks;
    while (chunk < end) {
#pragma unroll
      for (int d = 0; d < kDepth; ++d) {
        if (chunk < end) {
          multiply(d, x + chunk - from, pitch);
          load(d, chunk + kDepth * step);
          chunk += step;
        }
      }
    }
  }

  // Lane r * columns + c gets the sum of row r and column c.
  __device__ __forceinline__ float reduce(int lane) {
    float mine = 0;
#pragma unroll
    for (int r = 0; r < rows; ++r) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        const float all = warp_sum(sum[r][c]);
        if (lane == r * kColumns + c) mine = all;
      }
    }
    return mine;
  }

 private:
  __device__ __forceinline__ void load(int d, int at) {
    if (at < chunks) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) ring[d][c] = ptx::load_streaming(w + (start[c] + static_cast<uint32_t>(at)));
    }
  }

  __device__ __forceinline__ void multiply(int d, const uint4* x, int pitch) {
    uint4 part[rows];
#pragma unroll
    for (int r = 0; r < rows; ++r) part[r] = x[r * pitch];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        const uint32_t pair = word(ring[d][c], i);
#pragma unroll
        for (int r = 0; r < rows; ++r) {
          const uint32_t factor = word(part[r], i);
          sum[r][c] = fmaf(low(pair), low(factor), sum[r][c]);
          sum[r][c] = fmaf(high(pair), high(factor), sum[r][c]);
        }
      }
    }
  }
};

// ---- The rows of x in shared memory ----

// Chunks from .. from + count of every row. x: [rows][pitch].
template <int rows>
__device__ __forceinline__ void stage_rows(const bf16* in, int chunks, int from, int count, uint4* x, int pitch) {
  for (int r = 0; r < rows; ++r) {
#pragma unroll 1  // more at a time doesn't fit beside the ring
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads)
      x[r * pitch + i] = load_eight(in + (static_cast<int64_t>(r) * chunks + from + i) * kChunk);
  }
}

struct Norm {
  const float *w, *bias;  // no bias: RMS
  float divisor, eps;
  int32_t threads, pieces;  // of the unfused kernel, whose sums are repeated in its order
};

// A sum over each row as a block of norm.threads threads would take it (norm_row.cuh, block_sum), bit for bit.
// `add(row, eight, sum)` adds a chunk.
template <int rows, typename Add>
__device__ __forceinline__ void row_sums(const Norm& norm, const bf16* in, int chunks, float* scratch,
                                         float (&sum)[rows], const Add& add) {
  const int lane = static_cast<int>(threadIdx.x % 32), warps = norm.threads / 32;
  for (int warp = static_cast<int>(threadIdx.x / 32); warp < warps; warp += kWarps) {
#pragma unroll
    for (int r = 0; r < rows; ++r) sum[r] = 0;
#pragma unroll 1
    for (int i = 0; i < norm.pieces; ++i) {
      const int chunk = warp * 32 + lane + i * norm.threads;
      if (chunk >= chunks) break;
      uint4 raw[rows];  // of all rows at once, or each would wait for its own
#pragma unroll
      for (int r = 0; r < rows; ++r) raw[r] = load_eight(in + (r * chunks + chunk) * kChunk);
#pragma unroll
      for (int r = 0; r < rows; ++r) add(r, widen(raw[r]), sum[r]);
    }
#pragma unroll
    for (int r = 0; r < rows; ++r) {
      sum[r] = warp_sum(sum[r]);
      if (lane == 0) scratch[r * kNormScratch + warp] = sum[r];
    }
  }
  __syncthreads();  // all warps' sums are there
#pragma unroll
  for (int r = 0; r < rows; ++r) sum[r] = warp_sum(lane < warps ? scratch[r * kNormScratch + lane] : 0.0f);
}

// All rows, whole and normalised, rounded to bf16 as the norm's own output would be. x: [rows][chunks]; scratch: rows *
// kNormScratch floats. The rows are read again for each sum: they are small, and in the first-level cache by then.
template <int rows>
__device__ __forceinline__ void normalise_rows(const Norm& norm, const bf16* in, int chunks, uint4* x, float* scratch) {
  const float n = static_cast<float>(chunks * kChunk), divisor = norm.bias ? n : norm.divisor;
  float mean[rows], scale[rows];
#pragma unroll
  for (int r = 0; r < rows; ++r) mean[r] = 0;
  if (norm.bias) {
    row_sums<rows>(norm, in, chunks, scratch, mean, [](int, const Eight& e, float& sum) {
#pragma unroll
      for (int j = 0; j < 8; ++j) sum += e.value[j];
    });
#pragma unroll
    for (int r = 0; r < rows; ++r) mean[r] /= n;
  }
  row_sums<rows>(norm, in, chunks, scratch + 32, scale, [&](int r, const Eight& e, float& sum) {
#pragma unroll
    for (int j = 0; j < 8; ++j) sum = fmaf(e.value[j] - mean[r], e.value[j] - mean[r], sum);
  });
#pragma unroll
  for (int r = 0; r < rows; ++r) scale[r] = 1.0f / sqrtf(scale[r] / divisor + norm.eps);

#pragma unroll 1  // more at a time doesn't fit beside the ring
  for (int chunk = static_cast<int>(threadIdx.x); chunk < chunks; chunk += kThreads) {
    const Eight weight = load_eight(norm.w + chunk * kChunk);
    uint4 raw[rows];
#pragma unroll
    for (int r = 0; r < rows; ++r) raw[r] = load_eight(in + (r * chunks + chunk) * kChunk);
    Eight shift{};
    if (norm.bias) shift = load_eight(norm.bias + chunk * kChunk);
#pragma unroll
    for (int r = 0; r < rows; ++r) {
      Eight e = widen(raw[r]);
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        e.value[j] = norm.bias ? fmaf((e.value[j] - mean[r]) * scale[r], weight.value[j], shift.value[j])
                               : e.value[j] * scale[r] * weight.value[j];
      }
      x[r * chunks + chunk] = narrow(e);
    }
  }
}

// ---- One block ----

struct Work {
  const bf16* in;  // [rows, 8 * chunks]
  const uint4* w;  // [n, pitch]
  uint32_t pitch;  // chunks; n * pitch fits 32 bits
  int32_t chunks, groups, split;
  int32_t stage;  // chunks of a row in shared memory at a time; with a norm all of them
  Norm norm;
};

// Output: int row(group, column): a weight row; void finish(value, group, lane): called by whole warps, lane r *
// columns + c with the sum of row r and column c, lanes from `values` on with nothing.
template <int rows, bool normed, typename Output>
__device__ __forceinline__ void run(const Work& work, const Output& output) {
  using S = Shape<rows>;
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int slice = warp % work.split, at_once = kWarps / work.split;

  // Shared memory.
  SharedMemory shared;
  uint4* x = shared.take<uint4>(static_cast<uint32_t>(rows * work.stage));
  // Two: those of the next turn are written while these are read.
  float* partial = shared.take<float>(2 * kWarps * S::values);
  float* scratch = normed ? shared.take<float>(rows * kNormScratch) : nullptr;

  // The first weights are under way before anything else.
  WarpProduct<rows> product;
  product.w = work.w;
  const auto aim = [&](int group) {
    const bool some = group < work.groups;
#pragma unroll
    for (int c = 0; c < S::columns; ++c)
      product.start[c] = some ? static_cast<uint32_t>(output.row(group, c)) * work.pitch : 0;
    product.begin(slice * 32 + lane, work.split * 32, some ? work.chunks : 0);
  };
  int group = static_cast<int>(blockIdx.x) * at_once + warp / work.split;
  aim(group);
  ptx::let_next_launch_begin();
  ptx::wait_for_earlier_launches();

  // x, when all of it fits.
  const bool whole = normed || work.stage >= work.chunks;
  if constexpr (normed) {
    normalise_rows<rows>(work.norm, work.in, work.chunks, x, scratch);
  } else if (whole) {
    stage_rows<rows>(work.in, work.chunks, 0, work.chunks, x, work.stage);
  }
  __syncthreads();  // x is there

  const int stride = static_cast<int>(gridDim.x) * at_once;
  int turn = 0;
  for (int first = static_cast<int>(blockIdx.x) * at_once; first < work.groups; first += stride, turn ^= 1) {
    // The product, stage by stage.
    for (int from = 0; from < work.chunks; from += work.stage) {
      const int end = work.chunks - from < work.stage ? work.chunks : from + work.stage;
      if (!whole) {
        __syncthreads();  // nobody reads the last stage any more
        stage_rows<rows>(work.in, work.chunks, from, end - from, x, work.stage);
        __syncthreads();  // x is there
      }
      product.advance(x, work.stage, from, end);
    }
    float value = product.reduce(lane);

    // The next group's weights are under way while this one is finished.
    const int done = group;
    group += stride;
    aim(group);

    // The slices of k, in order.
    if (work.split > 1) {
      float* mine = partial + turn * kWarps * S::values;
      if (lane < S::values) mine[warp * S::values + lane] = value;
      __syncthreads();  // all slices are there
      if (slice == 0 && lane < S::values) {
        for (int s = 1; s < work.split; ++s) value += mine[(warp + s) * S::values + lane];
      }
    }
    if (slice == 0 && done < work.groups) output.finish(value, done, lane);
  }
}

// ---- Launching ----

struct LaunchShape {
  int32_t split, stage;
  uint32_t grid, shared;
};

// Warps enough for every multiprocessor, then as few turns of a resident grid as do, all blocks with the same number of
// them.
template <int rows>
LaunchShape launch_shape(const DeviceInfo& device, int64_t groups, int64_t chunks, bool normed) {
  using S = Shape<rows>;
  LaunchShape p{1, 0, 0, 0};
  while (p.split < kWarps && groups * p.split < int64_t{16} * device.multiprocessors && chunks >= int64_t{64} * p.split)
    p.split *= 2;
  p.stage = static_cast<int32_t>(normed || chunks < S::stage ? chunks : S::stage);
  p.shared = static_cast<uint32_t>(rows * p.stage * 16 + 2 * kWarps * S::values * 4 +
                                   (normed ? rows * static_cast<int>(kNormScratch) * 4 : 0));
  const int64_t fit = device.shared_per_block / (int64_t{p.shared} + 1024),
                resident = int64_t{device.multiprocessors} * (fit < 1           ? 1
                                                              : fit < S::blocks ? fit
                                                                                : S::blocks);
  const int64_t at_once = kWarps / p.split, blocks = (groups + at_once - 1) / at_once,
                turns = (blocks + resident - 1) / resident;
  p.grid = static_cast<uint32_t>((blocks + turns - 1) / turns);
  return p;
}

// Sizes that the kernels count on, without the output's.
inline bool fits(const Op& op) {
  return op.w && op.in_rows >= 1 && op.in_rows <= kMaxRows && op.out_rows == op.in_rows && op.in_cols % kChunk == 0 &&
         op.in_cols > 0 && op.w->cols == op.in_cols && op.w->pitch >= op.in_cols && op.w->pitch % kChunk == 0 &&
         op.w->rows > 0 && op.w->rows <= INT32_MAX - kMaxRows && op.w->rows * op.w->pitch / kChunk <= INT32_MAX;
}

inline Work work_of(const Op& op, const bf16* in, int64_t groups, const LaunchShape& p, const Norm& norm) {
  return {in,
          static_cast<const uint4*>(op.w->data),
          static_cast<uint32_t>(op.w->pitch / kChunk),
          static_cast<int32_t>(op.in_cols / kChunk),
          static_cast<int32_t>(groups),
          p.split,
          p.stage,
          norm};
}

// Rows * columns of x whole in shared memory: 64 KB, three blocks on a Hopper multiprocessor.
constexpr int64_t kMaxNormElements = 32768;

inline Norm norm_of(const Op& norm) {
  const NormShape shape = norm_shape(norm.in_cols);
  const bool layer = norm.record->op == NVLM_LAYER_NORM;
  const float divisor = static_cast<float>(norm.c().true_width ? norm.c().true_width : norm.in_cols);
  return {norm.w->vector(), layer ? norm.bias->vector() : nullptr, divisor,
          norm.c().eps,     static_cast<int32_t>(shape.threads),   shape.chunks};
}

// Whether `norm`'s rows can be normalised within the product of `linear`, which reads them. Blocks read the norm's
// input while others write the product: where the arena has laid the one over the other, they can't be one launch.
inline bool can_fuse_norm(const Op& norm, const Op& linear) {
  const auto *in = reinterpret_cast<const unsigned char*>(norm.in),
             *out = static_cast<const unsigned char*>(linear.out);
  const int64_t in_bytes = norm.in_rows * norm.in_cols * 2,
                out_bytes = linear.out_rows * linear.out_cols * (linear.record->op == NVLM_LOGITS ? 4 : 2);
  if (in < out + out_bytes && out < in + in_bytes) return false;
  const bool rms = norm.record->op == NVLM_RMS_NORM, layer = norm.record->op == NVLM_LAYER_NORM && norm.bias;
  return (rms || layer) && norm.w && norm.record->out == linear.record->in && norm.in_rows == linear.in_rows &&
         norm.in_cols == linear.in_cols && norm.in_rows >= 1 && norm.in_rows <= kMaxRows &&
         norm.in_cols % kChunk == 0 && norm.in_rows * norm.in_cols <= kMaxNormElements;
}

}  // namespace nvlm::gpu::gemv
