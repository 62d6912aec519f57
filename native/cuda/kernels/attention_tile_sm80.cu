// attention (ops/ops.h) over NVLM_KEYS_TILE: the encoder's, every row of a tile with every other. in [tiles * rows_each, 3 * width], [q | k | v].
//
// A block takes 128 queries of one head, a warp 32 of them, so that each fragment of keys and values serves two products. Keys and values come in chunks of
// 64 (32 where registers are short), the next chunk during the products of this one. Blocks with few queries (1025 = 8 * 128 + 1) are launched last, and
// of a last chunk with few keys only the 16-key slices that hold some are multiplied.
// grid: tiles x heads x query blocks | block: 4 warps | shared: 52 KB (d 96) to 68 KB (d 128), two blocks an SM | registers: 217 to 248 | bound by mma.sync
// Rejected: 16 queries a warp: ldmatrix would need 167 bytes a clock of the 128 that shared memory has, at the full rate of mma.sync on Hopper.
// Rejected: chunks of 64 at d 128, keys and values one after the other: 8 bytes of spills, two barriers a chunk.
#include "cuda/kernels/attention_choice.cuh"
#include "cuda/kernels/attention_mma.cuh"

namespace nvlm::gpu {
namespace {

constexpr int kThreads = 128, kQueries = 128;
template <int d>
constexpr int kChunk = d <= 80 ? 64 : 32;  // keys

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

template <int d>
__global__ void __launch_bounds__(kThreads, 2) attention_tile_kernel(const __grid_constant__ TileArgs a) {
  constexpr int kKeys = kChunk<d>, kKeyTiles = kKeys / 8;
  SharedMemory shared;
  bf16* queries = shared.take<bf16>(kQueries * kPitch<d>);
  bf16* keys = shared.take<bf16>(2 * kKeys * kPitch<d>);
  bf16* values = shared.take<bf16>(2 * kKeys * kPitch<d>);

  const auto [first, head, tile] = place_of(static_cast<int32_t>(blockIdx.x), a);
  const int32_t count = a.rows_each - first < kQueries ? a.rows_each - first : kQueries;
  const uint32_t width = static_cast<uint32_t>(a.heads) * d, pitch = 3 * width;
  const bf16* q = a.qkv + int64_t{tile} * a.rows_each * pitch + head * d;
  const uint32_t warp = threadIdx.x / 32;
  bf16* mine = queries + warp * 32 * kPitch<d>;                 // this warp's queries, later its results
  const bool active = static_cast<int32_t>(warp * 32) < count;  // a warp without queries only copies

  copy_rows<d, kQueries, kThreads>(queries, threadIdx.x, q + static_cast<uint32_t>(first) * pitch, pitch, [&](int32_t row) { return row < count; });
  const auto copy_chunk = [&](int32_t chunk) {
    const bf16* from = q + static_cast<uint32_t>(chunk * kKeys) * pitch;
    const auto seen = [&](int32_t row) { return row < a.rows_each - chunk * kKeys; };
    copy_rows<d, kKeys, kThreads>(keys + chunk % 2 * kKeys * kPitch<d>, threadIdx.x, from + width, pitch, seen);
    copy_rows<d, kKeys, kThreads>(values + chunk % 2 * kKeys * kPitch<d>, threadIdx.x, from + 2 * width, pitch, seen);
    ptx::commit_copies();
  };
  copy_chunk(0);

  float out[2][d / 8][4];
  clear(out);
  Softmax state[2];
  const auto query = [&](int step, uint32_t(&fragment)[2][4]) {
    load_left<d>(fragment[0], mine + 16 * step);
    load_left<d>(fragment[1], mine + 16 * kPitch<d> + 16 * step);
  };

  const int32_t chunks = (a.rows_each + kKeys - 1) / kKeys;
  for (int32_t chunk = 0; chunk < chunks; ++chunk) {
    ptx::wait_copies<0>();
    __syncthreads();  // this chunk is there (the first time the queries too), and nobody reads the one before any more
    if (chunk + 1 < chunks) copy_chunk(chunk + 1);
    if (!active) continue;

    const int32_t left = a.rows_each - chunk * kKeys;
    const bf16 *k = keys + chunk % 2 * kKeys * kPitch<d>, *v = values + chunk % 2 * kKeys * kPitch<d>;
    float s[2][kKeyTiles][4];
    if (left >= kKeys) {
      multiply_keys<false, d>(s, query, k, kKeys);
    } else {
      multiply_keys<true, d>(s, query, k, left);
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (8 * n + static_cast<int32_t>(2 * (threadIdx.x % 4)) + i % 2 >= left) s[0][n][i] = s[1][n][i] = no_key();
        }
      }
    }
    soften<d>(state[0], s[0], out[0], a.scale);
    soften<d>(state[1], s[1], out[1], a.scale);
    if (left >= kKeys) {
      multiply_values<false, d>(out, s, v, kKeys);
    } else {
      multiply_values<true, d>(out, s, v, left);
    }
  }

  // Through shared memory, so that rows are stored 16 bytes a lane. A warp reads and writes its own queries' place alone.
  if (!active) return;
  __syncwarp();  // all lanes have read the queries
  put_rows<d>(mine, out[0], state[0]);
  put_rows<d>(mine + 16 * kPitch<d>, out[1], state[1]);
  __syncwarp();  // the rows are there
  const int32_t row_0 = first + static_cast<int32_t>(warp) * 32;
  bf16* to = a.out + (int64_t{tile} * a.rows_each + row_0) * width + head * d;
  for (int32_t item = static_cast<int32_t>(threadIdx.x % 32); item < 32 * d / 8; item += 32) {
    const int32_t row = item / (d / 8), piece = item % (d / 8);
    if (row_0 + row < a.rows_each) store_eight(to + static_cast<uint32_t>(row) * width + 8 * piece, load_eight(mine + row * kPitch<d> + 8 * piece));
  }
}

template <int d>
Status launch_tile(const TileArgs& args, Stream stream) {
  const uint32_t bytes = (kQueries + 4 * kChunk<d>) * kPitch<d> * sizeof(bf16);
  if (const Status status = allow_shared(attention_tile_kernel<d>, bytes); status != Status::ok) return status;
  const int64_t blocks = (int64_t{args.rows_each} + kQueries - 1) / kQueries * args.heads * args.tiles;
  return launch(attention_tile_kernel<d>, {dim3(static_cast<uint32_t>(blocks)), dim3(kThreads), bytes, stream}, args);
}

}  // namespace

Status enqueue_attention_tile(const Op& op) {
  const nvlm_constants& c = op.c();
  if (c.rows_each <= 0 || c.heads != c.kv_heads || op.in_rows % c.rows_each || op.in_cols != int64_t{3} * c.heads * c.head_dim) return Status::invalid;
  if (op.in_cols * (c.rows_each + kQueries) > 0x7fffffff) return Status::invalid;
  if (op.in_rows == 0) return Status::ok;
  const TileArgs args{op.in, op.out_bf16(), c.rows_each, c.heads, static_cast<int32_t>(op.in_rows / c.rows_each), attention_scale(c.head_dim)};
  switch (c.head_dim) {
    case 64: return launch_tile<64>(args, op.stream);
    case 80: return launch_tile<80>(args, op.stream);
    case 96: return launch_tile<96>(args, op.stream);
    case 128: return launch_tile<128>(args, op.stream);
    default: return Status::invalid;
  }
}

}  // namespace nvlm::gpu
