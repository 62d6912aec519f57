// linear, linear_gelu, linear_swiglu, linear_residual, logits and the product of patch_embed (ops/ops.h; reference:
// reference/linear.cc): out = finish(a [rows, depth] · bᵀ), b [columns, depth] as the weight is stored, so
// column-major as mma.sync wants it.
//
//   grid    (row tiles * column tiles, splits), in panels of 8 row tiles, so that the blocks that run together share
//     rows of a and of b in L2
//   block   32 threads for each of warps_m * warps_n warps
//   shared  the ring, stages * (m + n) * k * 2 bytes, later the tile as float32; and one word
//
//   tile      k  stages  threads  shared   registers 8.0 / 9.0   bound by
//   128x256  64  3       256      144 KB   254 / 244             tensor cores
//   128x128  64  3       128       96 KB   254 / 244             tensor cores; on Hopper two blocks overlap start,
//     products and epilogue
//   64x128   64  3       128       72 KB   162 / 166             shared memory (ldmatrix)
//   64x64    64  4       128       64 KB   105 / 107             shared memory
//   32x64    64  4       128       48 KB    80 / 80              DRAM (the weight)
//   16x64    64  4       128       40 KB    62 / 62              DRAM (the weight)
//
// No spills on 8.0 to 12.0. Not yet measured on a GPU.
// Rejected: the epilogue straight from the fragments (see epilogue.cuh); padding instead of the XOR swizzle (a tenth
// more shared memory, which costs 128x256 its third stage on 163 KB); adding partial sums with atomics (not
// deterministic); branches around copies beyond the end (they cut the loop into pieces that ptxas cannot schedule
// together).
#pragma once

#include "cuda/kernels/gemm.h"
#include "cuda/ptx/common.h"
#include "cuda/ptx/sm80.h"
#include "cuda/ptx/sm90.h"

namespace nvlm::gpu {
namespace sm80 {

// ---- Shared tiles: rows of k elements in chunks of 8, 16 bytes ----

// Chunk `c` of row r lies at c ^ swizzle(r): the same chunk of 8 neighbouring rows, which ldmatrix reads at once, lies
// in 8 different places of the 128 bytes that shared memory gives in a cycle. Rows of 64 bytes (k = 32) share such a
// line by two.
template <int k>
__device__ __forceinline__ int swizzle(int row) {
  static_assert(k == 32 || k == 64);
  return k == 32 ? row / 2 % 4 : row % 8;
}

// One thread's share of copying an operand's tile: the same chunk of every kStride-th row.
template <int rows, int k, int threads>
struct TileCopy {
  static constexpr int kChunks = k / 8, kStride = threads / kChunks, kCount = rows / kStride;
  static_assert(kStride % 8 == 0 && rows % kStride == 0, "the swizzle is the same for all rows of a thread");
  const bf16* from;    // in the thread's first row
  int64_t row_stride;  // of kStride rows
  uint32_t exists;     // bit i: row i is one of the operand's
  int column, to;      // `to`: element of the tile

  __device__ TileCopy(const bf16* operand, int64_t pitch, int first_row, int row_count) {
    const int row = static_cast<int>(threadIdx.x) / kChunks, chunk = static_cast<int>(threadIdx.x) % kChunks;
    column = chunk * 8;
    to = row * k + (chunk ^ swizzle<k>(row)) * 8;
    from = operand + (first_row + row) * pitch + column;
    row_stride = kStride * pitch;
    exists = 0;
#pragma unroll
    for (int i = 0; i < kCount; ++i) exists |= (first_row + row + i * kStride < row_count ? 1u : 0u) << i;
  }

  // Copy number i. What lies beyond the last row or the depth becomes zero.
  __device__ __forceinline__ void start(int i, bf16* tile, int first, int depth) const {
    const uint32_t valid = first + column < depth ? exists : 0;
    ptx::copy_async(tile + to + i * kStride * k, from + first + i * row_stride, valid >> i & 1);
  }
};

// ---- Fragments of one warp for 16 of the depth ----

template <int m_pieces, int n_pieces>
struct Fragments {
  uint32_t a[m_pieces][4];
  uint32_t b[n_pieces][2];
};

// Where a lane's rows for ldmatrix begin, with the swizzle of its half of the first 16 elements; other 16 elements:
// another XOR, since the swizzle keeps pairs of chunks together.
template <int k>
struct LaneRows {
  int a, b;
  __device__ LaneRows(int lane, int a_row, int b_row) {
    // Matrices: rows 0 and 8, then the same of the other half.
    const int row_of_a = a_row + lane % 16, half_of_a = lane / 16;
    // Matrices: both halves, then the same of rows 8.
    const int row_of_b = b_row + lane / 16 * 8 + lane % 8, half_of_b = lane / 8 % 2;
    a = row_of_a * k + (half_of_a ^ swizzle<k>(row_of_a)) * 8;
    b = row_of_b * k + (half_of_b ^ swizzle<k>(row_of_b)) * 8;
  }
};

template <int k, int m_pieces, int n_pieces>
__device__ __forceinline__ void load_fragments(Fragments<m_pieces, n_pieces>& f, const bf16* a, const bf16* b,
                                               const LaneRows<k>& rows, int piece) {
#pragma unroll
  for (int i = 0; i < m_pieces; ++i) ptx::load_matrices(f.a[i], a + i * 16 * k + (rows.a ^ piece * 16));
#pragma unroll
  for (int j = 0; j < n_pieces; j += 2) {
    uint32_t r[4];
    ptx::load_matrices(r, b + j * 8 * k + (rows.b ^ piece * 16));
    f.b[j][0] = r[0];
    f.b[j][1] = r[1];
    f.b[j + 1][0] = r[2];
    f.b[j + 1][1] = r[3];
  }
}

// ---- Which tile a block makes ----

struct TilePlace {
  int index, first_row, first_column;  // index: of its partial sums and counter
};

template <int m, int n>
__device__ __forceinline__ TilePlace tile_place(int rows, int columns) {
  constexpr int kPanel = 8;
  const int row_tiles = (rows + m - 1) / m, column_tiles = (columns + n - 1) / n, block = static_cast<int>(blockIdx.x);
  const int panel = block / (kPanel * column_tiles), within = block % (kPanel * column_tiles), first = panel * kPanel;
  const int height = row_tiles - first < kPanel ? row_tiles - first : kPanel;
  return {block, (first + within % height) * m, within / height * n};
}

}  // namespace sm80

// A tile as a type: nvcc cannot name kernels by values of a class, so each instance derives its own; nor call
// GemmTile's functions, which belong to the host.
template <GemmTile t>
struct Sm80 {
  static constexpr GemmTile tile = t;
  static constexpr int threads = t.threads(), stage_elements = static_cast<int>(t.stage_bytes() / 2),
                       ring_elements = static_cast<int>(t.ring_bytes() / 2);
};

template <typename Instance>
__global__ void __launch_bounds__(Instance::threads) gemm_sm80(const __grid_constant__ Product p) {
  // ---- Constants ----
  constexpr GemmTile t = Instance::tile;
  constexpr int kThreads = Instance::threads, kStage = Instance::stage_elements, kPieces = t.k / 16;
  constexpr int kMPieces = t.m / t.warps_m / 16, kNPieces = t.n / t.warps_n / 8;
  static_assert(kMPieces >= 1 && kNPieces % 2 == 0 && kPieces % 2 == 0,
                "fragments alternate between two registers sets");
  static_assert(t.stages >= 3 && t.m * t.n * 2 <= Instance::ring_elements, "the ring holds the finished tile");

  // ---- Shared memory ----
  SharedMemory shared;
  bf16* ring = shared.take<bf16>(Instance::ring_elements, 1024);
  uint32_t* arrived = shared.take<uint32_t>(1);

  // ---- This block's tile and part of the depth ----
  const sm80::TilePlace place = sm80::tile_place<t.m, t.n>(p.rows, p.columns);
  const int all_steps = (p.depth + t.k - 1) / t.k, split = static_cast<int>(blockIdx.y);
  const int first_step = static_cast<int>(int64_t{all_steps} * split / p.splits);
  const int steps = static_cast<int>(int64_t{all_steps} * (split + 1) / p.splits) - first_step;

  const sm80::TileCopy<t.m, t.k, kThreads> copy_a(p.a, p.a_pitch, place.first_row, p.rows);
  const sm80::TileCopy<t.n, t.k, kThreads> copy_b(p.b, p.b_pitch, place.first_column, p.columns);
  const int depth_end = p.depth < (first_step + steps) * t.k ? p.depth : (first_step + steps) * t.k;
  // Copies [from, to) of a stage: those of a, then those of b. Whoever starts the last ones closes the group, so that
  // the count of pending groups says what has arrived. Stages beyond the end become zeros that nobody uses: cheaper
  // than branches, which would cut the loop into pieces that cannot be scheduled together.
  constexpr int kCopies = copy_a.kCount + copy_b.kCount;
  const auto start_copies = [&](int step, int slot, int from, int to) {
    bf16* stage = ring + slot * kStage;
    const int first = (first_step + step) * t.k;
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      if (i < from || i >= to) continue;
      if (i < copy_a.kCount) {
        copy_a.start(i, stage, first, depth_end);
      } else {
        copy_b.start(i - copy_a.kCount, stage + t.m * t.k, first, depth_end);
      }
    }
  };

  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int warp_row = warp % t.warps_m * (t.m / t.warps_m), warp_column = warp / t.warps_m * (t.n / t.warps_n);
  const sm80::LaneRows<t.k> lane_rows(lane, warp_row, warp_column);
  sm80::Fragments<kMPieces, kNPieces> fragments[2];
  const auto load = [&](int slot, int piece) {
    const bf16* stage = ring + slot * kStage;
    sm80::load_fragments<t.k>(fragments[piece % 2], stage, stage + t.m * t.k, lane_rows, piece);
  };

  float sum[kMPieces][kNPieces][4];
#pragma unroll
  for (int i = 0; i < kMPieces; ++i) {
#pragma unroll
    for (int j = 0; j < kNPieces; ++j) sum[i][j][0] = sum[i][j][1] = sum[i][j][2] = sum[i][j][3] = 0;
  }

  // ---- Fill the ring: weights first, which no launch writes, while the one that makes `a` may still run ----
  // They belong to the first group. Where the weights are what takes time all stages of them begin early; else those of
  // the stage that is needed first.
  constexpr int kEarly = t.m <= 32 ? t.stages - 1 : 1;
  ptx::let_next_launch_begin();
#pragma unroll
  for (int s = 0; s < kEarly; ++s) start_copies(s, s, copy_a.kCount, kCopies);
  ptx::wait_for_earlier_launches();
#pragma unroll
  for (int s = 0; s < t.stages - 1; ++s) {
    start_copies(s, s, 0, s < kEarly ? copy_a.kCount : kCopies);
    ptx::commit_copies();
  }
  ptx::wait_copies<t.stages - 2>();
  __syncthreads();  // everybody's copies of stage 0 are there
  load(0, 0);

  // ---- Products: while one piece is multiplied, the next is on its way to registers, and `stages` - 1 stages on their
  // way to shared memory ----
  int slot = 0, free_slot = t.stages - 1;
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    const int next_slot = slot + 1 == t.stages ? 0 : slot + 1;
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) {
      if (piece + 1 < kPieces) {
        load(slot, piece + 1);
      } else {
        ptx::wait_copies<t.stages - 2>();
        // Everybody's copies of the next stage are there, and nobody reads this stage any more: it may be overwritten.
        __syncthreads();
        load(next_slot, 0);
      }
      // Into the slot of the stage before this one; spread out, so that ldmatrix does not queue behind them. All before
      // this step's wait.
      if (piece + 1 < kPieces)
        start_copies(step + t.stages - 1, free_slot, kCopies * piece / (kPieces - 1),
                     kCopies * (piece + 1) / (kPieces - 1));
      if (piece + 2 == kPieces) ptx::commit_copies();
#pragma unroll
      for (int i = 0; i < kMPieces; ++i) {
#pragma unroll
        for (int j = 0; j < kNPieces; ++j) {
          const int column = i % 2 ? kNPieces - 1 - j : j;  // back and forth, so that neighbours share an operand
          ptx::mma(sum[i][column], fragments[piece % 2].a[i], fragments[piece % 2].b[column]);
        }
      }
    }
    free_slot = slot;
    slot = next_slot;
  }

  // ---- The tile goes to shared memory ----
  ptx::wait_copies<0>();
  __syncthreads();  // nobody reads the ring any more, and no copy of zeros is on its way to it
  float* tile = reinterpret_cast<float*>(ring);
#pragma unroll
  for (int i = 0; i < kMPieces; ++i) {
#pragma unroll
    for (int j = 0; j < kNPieces; ++j) {
      const int row = warp_row + i * 16 + lane / 4, column = warp_column + j * 8 + lane % 4 * 2;
      *reinterpret_cast<float2*>(tile + epilogue::place<t.n>(row, column)) = make_float2(sum[i][j][0], sum[i][j][1]);
      *reinterpret_cast<float2*>(tile + epilogue::place<t.n>(row + 8, column)) =
          make_float2(sum[i][j][2], sum[i][j][3]);
    }
  }
  __syncthreads();  // the threads of the epilogue read what others wrote

  // ---- Split: the last block of a tile adds the parts, in their order ----
  if (p.splits > 1) {
    constexpr int64_t kPart = int64_t{t.m} * t.n;
    float* parts = p.partials + place.index * kPart * p.splits;
    const epilogue::Walk<t.n, kThreads> walk(t.m, place.first_row, place.first_column, p.rows, p.columns);
    const auto part = [&](int s, int row) {
      return reinterpret_cast<float4*>(parts + s * kPart + row * t.n + walk.columns.first % t.n);
    };
#pragma unroll 1
    for (int row = walk.row; row < walk.end; row += walk.kStep) *part(split, row) = *walk.at(tile, row);
    __syncthreads();  // before thread 0 tells that this block's part is there
    if (threadIdx.x == 0) *arrived = ptx::add_acquire_release(p.counters + place.index, 1);
    __syncthreads();  // the answer, and what was acquired with it, reaches all
    if (*arrived + 1 != static_cast<uint32_t>(p.splits)) return;
    if (threadIdx.x == 0) p.counters[place.index] = 0;
#pragma unroll 1
    for (int row = walk.row; row < walk.end; row += walk.kStep) {
      float4 total = *part(0, row);
#pragma unroll 4
      for (int s = 1; s < p.splits; ++s) {
        const float4 next = *part(s, row);
        total = make_float4(total.x + next.x, total.y + next.y, total.z + next.z, total.w + next.w);
      }
      *walk.at(tile, row) = total;  // read again by this thread alone
    }
  }

  // ---- Epilogue ----
  epilogue::finish<t.m, t.n, kThreads>(p.epilogue, tile, place.first_row, place.first_column, p.rows, p.columns);
}

template <typename Instance>
Status launch_sm80(const Product& product, Stream stream) {
  constexpr GemmTile t = Instance::tile;
  const Status status = allow_shared(gemm_sm80<Instance>, t.shared_bytes());
  if (status != Status::ok) return status;
  const dim3 grid(static_cast<uint32_t>(gemm_tiles(t, product.rows, product.columns)),
                  static_cast<uint32_t>(product.splits));
  return launch(
      gemm_sm80<Instance>,
      {.grid = grid, .block = dim3(t.threads()), .shared = t.shared_bytes(), .stream = stream, .dependent = kDependent},
      product);
}

}  // namespace nvlm::gpu
