// attention (ops/ops.h) over NVLM_KEYS_TILE: the encoder's, every row of a tile with every other. in [tiles *
// rows_each, 3 * width], [q | k | v].
//
// A block takes 128 queries of one head, a warp 32 of them, so that each fragment of keys and values serves two
// products. Keys and values come in chunks of 32. A warp makes the scores of the next chunk among the exponentials of
// this one (two units of the multiprocessor, which would else take turns), but at d 128, where registers are short, one
// after the other. Blocks with few queries (1025 = 8 * 128 + 1) are launched last.
// grid: tiles x heads x query blocks | block: 4 warps | shared: 37 KB (d 64) to 70 KB (d 128), two blocks an SM |
// registers: 226 to 255 | bound by mma.sync
// Rejected: 16 queries a warp: ldmatrix would need 167 bytes a clock of the 128 that shared memory has, at the full
// rate of mma.sync on Hopper.
// Rejected: looking at the largest score and multiplying all sums in each chunk (see LazySoftmax): a quarter of all
// instructions.
// Rejected: chunks of 64, keys and values one after the other, weights of 16 keys among the products of the 16 before:
// spills.
#include "cuda/kernels/attention_choice.cuh"
#include "cuda/kernels/attention_mma.cuh"
#include "cuda/ptx/sm90.h"

namespace nvlm::gpu {
namespace {

constexpr int kThreads = 128, kQueries = 128, kKeys = 32;

struct TileArgs {
  const bf16* qkv;
  bf16* out;  // [tiles * rows_each, width]
  int32_t rows_each, heads, tiles;
  float scale;
};

// Which queries a block takes: first the full blocks of all heads, neighbours in a head, then the rests.
struct Place {
  int32_t first, head, tile;
};
__device__ __forceinline__ Place place_of(int32_t id, const TileArgs& a) {
  const int32_t full = a.rows_each / kQueries, all_full = full * a.heads * a.tiles;
  const int32_t which = id < all_full ? id / full : id - all_full;
  return {id < all_full ? id % full * kQueries : full * kQueries, which % a.heads, which / a.heads};
}

// A thread's share of copying a chunk of keys or values: the same 16 bytes of every kRows-th row.
template <int d>
struct ChunkCopy {
  static constexpr int kPieces = d / 8, kRows = kThreads / kPieces, kCount = (kKeys + kRows - 1) / kRows;
  static constexpr bool kWhole = kThreads % kPieces == 0 && kKeys % kRows == 0;  // else some threads have less to do
  int32_t row, piece;

  __device__ ChunkCopy()
      : row(static_cast<int32_t>(threadIdx.x) / kPieces), piece(static_cast<int32_t>(threadIdx.x) % kPieces * 8) {}
  // This thread's first element: number `from` of `rows`. Rows that are not seen become zeros.
  template <typename Seen>
  __device__ __forceinline__ void operator()(bf16* tile, const bf16* rows, uint32_t from, uint32_t pitch,
                                             const Seen& seen) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int32_t at = row + i * kRows;
      if (kWhole || (row < kRows && at < kKeys))
        ptx::copy_async(tile + at * kPitch<d> + piece, rows + (from + static_cast<uint32_t>(i * kRows) * pitch),
                        seen(at));
    }
  }
};

using Scores = float[2][kKeys / 8][4];
using Weights = uint32_t[kKeys / 16][2][4];
__device__ __forceinline__ void copy_scores(Scores& to, const Scores& from) {
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) to[m][n][i] = from[m][n][i];
    }
  }
}

// Online softmax of the rows of a lane, {row tile, half}: a weight is exp2(score * scale - shift); this lane's share of
// their sum.
//
// `shift` need not belong to the largest score so far: it follows only when the weights that some lane has of a row and
// chunk add up to more than kMostWeight, and they are made again then. So neither the largest score nor the shrinking
// of all sums costs anything, mostly, once the first keys have set it. bf16 and float32 are as precise up there, and
// underflow only recedes.
constexpr float kMostWeight = 256;
struct LazySoftmax {
  float shift[2][2], sum[2][2];
};
// A shift for the start; finite, so that no key at all gives weights of 0, not NaN.
constexpr float kLeast = -3.4028235e38f;

__device__ __forceinline__ float most_of_row(float x) {
  x = fmaxf(x, __shfl_xor_sync(kFullWarp, x, 1u));
  return fmaxf(x, __shfl_xor_sync(kFullWarp, x, 2u));
}

// Scores become weights, left factors of 16 keys each; in parts, so that products can be put between them.
template <int d>
struct Soften {
  LazySoftmax& state;
  const Scores& s;
  Weights& weights;
  float scale;
  float sum[2][2] = {};  // of these weights

  __device__ __forceinline__ void part(int part, int parts) {
    constexpr int kAll = 2 * kKeys / 8;
#pragma unroll
    for (int i = kAll * part / parts; i < kAll * (part + 1) / parts; ++i) {
      const int m = i % 2, n = i / 2;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float shift = state.shift[m][r];
        const float left = ptx::exp2_fast(fmaf(s[m][n][2 * r], scale, -shift)),
                    right = ptx::exp2_fast(fmaf(s[m][n][2 * r + 1], scale, -shift));
        sum[m][r] += left + right;
        weights[n / 2][m][n % 2 * 2 + r] = ptx::round_pair(left, right);
      }
    }
  }
  // After all parts. `out` is what was summed up without these keys.
  __device__ __forceinline__ void finish(float (&out)[2][d / 8][4]) {
    const float most = fmaxf(fmaxf(sum[0][0], sum[0][1]), fmaxf(sum[1][0], sum[1][1]));
    if (__ballot_sync(kFullWarp, most > kMostWeight) != 0) again(out);
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int r = 0; r < 2; ++r) state.sum[m][r] += sum[m][r];
    }
  }

 private:
  // Rows that need it get the shift of their largest score. Others are multiplied by 1: no row depends on its
  // neighbours.
  __device__ __forceinline__ void again(float (&out)[2][d / 8][4]) {
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float most = s[m][0][2 * r];
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) most = fmaxf(most, fmaxf(s[m][n][2 * r], s[m][n][2 * r + 1]));
        most = most_of_row(most);
        const float before = state.shift[m][r], shift = most_of_row(sum[m][r]) > kMostWeight ? most * scale : before,
                    keep = ptx::exp2_fast(before - shift);
        state.shift[m][r] = shift;
        state.sum[m][r] *= keep;
        sum[m][r] = 0;
#pragma unroll
        for (int n = 0; n < d / 8; ++n) {
          out[m][n][2 * r] *= keep;
          out[m][n][2 * r + 1] *= keep;
        }
      }
    }
    part(0, 1);
  }
};

template <int d>
__global__ void __launch_bounds__(kThreads, 2) attention_tile_kernel(const __grid_constant__ TileArgs a) {
  constexpr bool kAhead = d < 128;  // else registers are short
  constexpr int kKeyTiles = kKeys / 8, kChunk = kKeys * kPitch<d>;
  SharedMemory shared;
  bf16* queries = shared.take<bf16>(kQueries * kPitch<d>);
  bf16* keys = shared.take<bf16>(2 * kChunk);
  bf16* values = shared.take<bf16>(2 * kChunk);
  Place* kept = shared.take<Place>(1);  // until the results are stored: registers are short in between

  const Place place = place_of(static_cast<int32_t>(blockIdx.x), a);
  if (threadIdx.x == 0) *kept = place;
  const auto [first, head, tile] = place;
  const int32_t count = a.rows_each - first < kQueries ? a.rows_each - first : kQueries;
  const uint32_t width = static_cast<uint32_t>(a.heads) * d, pitch = 3 * width;
  const bf16* q = a.qkv + int64_t{tile} * a.rows_each * pitch + head * d;
  const uint32_t warp = threadIdx.x / 32;
  bf16* mine = queries + warp * 32 * kPitch<d>;                 // this warp's queries, later its results
  const bool active = static_cast<int32_t>(warp * 32) < count;  // a warp without queries only copies

  // Chunk 0 has the keys that are left over, so that all others are whole.
  const int32_t chunks = (a.rows_each + kKeys - 1) / kKeys, odd = a.rows_each - (chunks - 1) * kKeys;
  const ChunkCopy<d> copy;
  // This thread's first key of a chunk; its value is `width` behind.
  uint32_t from = static_cast<uint32_t>(copy.row) * pitch + width + copy.piece;
  ptx::let_next_launch_begin();
  ptx::wait_for_earlier_launches();
  copy_rows<d, kQueries, kThreads>(queries, threadIdx.x, q + static_cast<uint32_t>(first) * pitch, pitch,
                                   [&](int32_t row) { return row < count; });
  const auto in_first = [&](int32_t row) { return row < odd; };
  const auto hide_missing = [&](Scores& s) {
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (8 * n + static_cast<int32_t>(2 * (threadIdx.x % 4)) + i % 2 >= odd) s[0][n][i] = s[1][n][i] = no_key();
      }
    }
  };
  copy(keys, q, from, pitch, in_first);

  float out[2][d / 8][4];
  clear(out);
  LazySoftmax state{{{kLeast, kLeast}, {kLeast, kLeast}}, {}};

  const auto meet_values = [&](const Weights& weights, const bf16* chunk) {
#pragma unroll
    for (int slice = 0; slice < kKeys / 16; ++slice)
      multiply_slice<d>(out, weights[slice], chunk + 16 * slice * kPitch<d>);
  };

  if constexpr (kAhead) {
    ptx::commit_copies();
    copy(values, q, from + width, pitch, in_first);
    from += static_cast<uint32_t>(odd) * pitch;
    copy(keys + kChunk, q, from, pitch, [&](int32_t) { return chunks > 1; });
    ptx::commit_copies();

    // ---- The scores of chunk 0 ----
    Scores even, uneven;
    ptx::wait_copies<1>();
    __syncthreads();  // the queries and chunk 0 of the keys are there
    const Query<d, 2> query(mine);
    if (active) {
      multiply_keys<d>(even, query, keys);
      hide_missing(even);
    }

    // ---- Scores of the next chunk, and among their products the weights of this one; then its values ----
    const auto step = [&](int32_t left, int slot, const Scores& s, Scores& next) {
      ptx::wait_copies<0>();
      // The next keys and these values are there, and nobody reads these keys and the values before any more.
      __syncthreads();
      copy(values + (1 - slot) * kChunk, q, from + width, pitch, [](int32_t) { return true; });
      from += static_cast<uint32_t>(kKeys) * pitch;
      copy(keys + slot * kChunk, q, from, pitch, [&](int32_t) { return left > 2; });
      ptx::commit_copies();
      if (!active) return;
      Weights weights;
      Soften<d> softmax{state, s, weights, a.scale};
      multiply_keys<d>(next, query, keys + (1 - slot) * kChunk, [&](int part) { softmax.part(part, d / 16); });
      softmax.finish(out);
      meet_values(weights, values + slot * kChunk);
    };
    int32_t left = chunks;  // with this one
    for (; left > 2; left -= 2) {
      step(left, 0, even, uneven);
      step(left - 1, 1, uneven, even);
    }
    if (left == 2) {
      step(left, 0, even, uneven);
      copy_scores(even, uneven);
    }

    // ---- The last values ----
    ptx::wait_copies<0>();
    __syncthreads();  // they are there
    if (!active) return;
    Weights weights;
    Soften<d> softmax{state, even, weights, a.scale};
    softmax.part(0, 1);
    softmax.finish(out);
    meet_values(weights, values + (chunks - 1) % 2 * kChunk);
  } else {
    copy(values, q, from + width, pitch, in_first);
    from += static_cast<uint32_t>(odd) * pitch;
    ptx::commit_copies();
    const Query<d, 2> query(mine);
    for (int32_t chunk = 0; chunk < chunks; ++chunk) {
      ptx::wait_copies<0>();
      // This chunk is there (the first time the queries too), and nobody reads the one before any more.
      __syncthreads();
      const int32_t here = chunk % 2 * kChunk, next = kChunk - here;
      if (chunk + 1 < chunks) {
        copy(keys + next, q, from, pitch, [](int32_t) { return true; });
        copy(values + next, q, from + width, pitch, [](int32_t) { return true; });
        from += static_cast<uint32_t>(kKeys) * pitch;
        ptx::commit_copies();
      }
      if (!active) continue;
      Scores s;
      multiply_keys<d>(s, query, keys + here);
      if (chunk == 0) hide_missing(s);
      Weights weights;
      Soften<d> softmax{state, s, weights, a.scale};
      softmax.part(0, 1);
      softmax.finish(out);
      meet_values(weights, values + here);
    }
    if (!active) return;
  }

  // Through shared memory, so that rows are stored 16 bytes a lane. A warp reads and writes its own queries' place
  // alone.
  __syncwarp();  // all lanes have read the queries
  put_rows<d>(mine, out[0], state.sum[0]);
  put_rows<d>(mine + 16 * kPitch<d>, out[1], state.sum[1]);
  __syncwarp();  // the rows are there
  const int32_t row_0 = kept->first + static_cast<int32_t>(warp) * 32;
  bf16* to = a.out + (int64_t{kept->tile} * a.rows_each + row_0) * width + kept->head * d;
  for (int32_t item = static_cast<int32_t>(threadIdx.x % 32); item < 32 * d / 8; item += 32) {
    const int32_t row = item / (d / 8), piece = item % (d / 8);
    if (row_0 + row < a.rows_each)
      store_eight(to + static_cast<uint32_t>(row) * width + 8 * piece, load_eight(mine + row * kPitch<d> + 8 * piece));
  }
}

template <int d>
Status launch_tile(const TileArgs& args, Stream stream) {
  const uint32_t bytes = (kQueries + 4 * kKeys) * kPitch<d> * sizeof(bf16) + sizeof(Place);
  if (const Status status = allow_shared(attention_tile_kernel<d>, bytes); status != Status::ok) return status;
  const int64_t blocks = (int64_t{args.rows_each} + kQueries - 1) / kQueries * args.heads * args.tiles;
  return launch(attention_tile_kernel<d>,
                {dim3(static_cast<uint32_t>(blocks)), dim3(kThreads), bytes, stream, kDependent}, args);
}

}  // namespace

Status enqueue_attention_tile(const Op& op) {
  const nvlm_constants& c = op.c();
  if (c.rows_each <= 0 || c.heads != c.kv_heads || op.in_rows % c.rows_each ||
      op.in_cols != int64_t{3} * c.heads * c.head_dim)
    return Status::invalid;
  if (op.in_cols * (c.rows_each + kQueries) > 0x7fffffff) return Status::invalid;
  if (op.in_rows == 0) return Status::ok;
  const TileArgs args{op.in,
                      op.out_bf16(),
                      c.rows_each,
                      c.heads,
                      static_cast<int32_t>(op.in_rows / c.rows_each),
                      attention_scale(c.head_dim)};
  switch (c.head_dim) {
    case 64: return launch_tile<64>(args, op.stream);
    case 80: return launch_tile<80>(args, op.stream);
    case 96: return launch_tile<96>(args, op.stream);
    case 128: return launch_tile<128>(args, op.stream);
    default: return Status::invalid;
  }
}

}  // namespace nvlm::gpu
