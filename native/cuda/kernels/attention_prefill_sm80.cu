// attention (ops/ops.h) over pages for rows that share a sequence: prefill, and cross-attention of several rows. in
// [rows, in_cols], queries first.
//
// A block takes a RowTile of one kv head: its (row, head) pairs, at most 64, are the rows of the product, so that
// grouped queries share each key. A warp has 16 pairs; a page of 64 keys is a step. The values of a page arrive during
// its q·kᵀ, the next page's keys during p·v.
// Few tiles (a question behind a long context; decoding rows beside a prompt) leave multiprocessors idle: then several
// blocks share a tile's pages, at least four each, and the last to arrive merges their sums.
// What a row does not see: keys outside the tile's hull of intervals or beyond the page's fill are zeros in shared
// memory, never read; those inside it get a weight of exactly 0 (a NaN among the values of a key that the tile's other
// rows see would pass through, as it does for them).
// grid: kv heads x tiles x shares, late tiles first (causal ones have the most pages) | block: 4 warps
// shared: 27 KB (d 64) to 51 KB (d 128), three blocks an SM | registers: 156 to 168 | bound by mma.sync and L2
#include "cuda/kernels/attention_choice.cuh"
#include "cuda/kernels/attention_mma.cuh"
#include "cuda/ptx/sm90.h"

namespace nvlm::gpu {
namespace {

constexpr int32_t kLeastPages = 4, kMostShares = 32;  // of a share; of a tile
constexpr int kThreads = 128, kKeys = NVLM_PAGE_KEYS, kKeyTiles = kKeys / 8;

struct PrefillArgs {
  const bf16* in;
  bf16* out;  // [rows, heads * head_dim]
  PagedKeys paged;
  const RowTile* tiles;
  int64_t in_cols;
  int32_t heads, kv_heads, tile_count;
  float scale;
  Partial partial;  // of blocks (tile, kv head), 64 rows each
};

struct Interval {
  int32_t begin, end;
};

__device__ __forceinline__ int32_t warp_least(int32_t x) {
#pragma unroll
  for (uint32_t lanes = 16; lanes > 0; lanes /= 2) {
    const int32_t other = __shfl_xor_sync(kFullWarp, x, lanes);
    x = other < x ? other : x;
  }
  return x;
}
__device__ __forceinline__ int32_t warp_most(int32_t x) { return -warp_least(-x); }

// The least interval that holds those of all lanes; empty ones don't count. None: begin = end.
__device__ __forceinline__ Interval hull_of(Interval mine, Interval other) {
  constexpr int32_t kFar = 0x7fffffff;
  const bool a = mine.begin < mine.end, b = other.begin < other.end;
  const int32_t first = a ? mine.begin : kFar, second = b ? other.begin : kFar;
  const int32_t begin = warp_least(first < second ? first : second);
  const int32_t last = a ? mine.end : -kFar, later = b ? other.end : -kFar;
  const int32_t end = warp_most(last > later ? last : later);
  return {begin < end ? begin : 0, begin < end ? end : 0};
}

template <int d>
__global__ void __launch_bounds__(kThreads, 3) attention_prefill_kernel(const __grid_constant__ PrefillArgs a) {
  SharedMemory shared;
  bf16* queries = shared.take<bf16>(kTilePairs * kPitch<d>);  // later the results
  bf16* keys = shared.take<bf16>(kKeys * kPitch<d>);
  bf16* values = shared.take<bf16>(kKeys * kPitch<d>);
  uint32_t* place = shared.take<uint32_t>(1);

  // The tile, its pages and intervals are found while earlier launches may still run: they were copied before the first
  // launch of the step.
  ptx::let_next_launch_begin();
  const RowTile tile = a.tiles[a.tile_count - 1 - static_cast<int32_t>(blockIdx.y)];
  const int32_t kv_head = static_cast<int32_t>(blockIdx.x), group = a.heads / a.kv_heads, pairs = tile.rows * group;
  const int32_t warp = static_cast<int32_t>(threadIdx.x / 32), lane = static_cast<int32_t>(threadIdx.x % 32);
  const int64_t first_row = tile.first_row;

  // This block's pages.
  const int32_t share = static_cast<int32_t>(blockIdx.z), most_shares = static_cast<int32_t>(gridDim.z);
  const int32_t pages = tile.last_page - tile.first_page, wanted = pages / kLeastPages > 1 ? pages / kLeastPages : 1;
  const int32_t shares = wanted < most_shares ? wanted : most_shares;
  if (share >= shares) return;
  const int32_t from = tile.first_page + static_cast<int32_t>(int64_t{pages} * share / shares),
                to = tile.first_page + static_cast<int32_t>(int64_t{pages} * (share + 1) / shares);

  // Intervals: of this lane's two rows, and the hulls of the tile's and of the warp's rows.
  const auto interval_of = [&](int32_t row) {
    return row < tile.rows ? Interval{a.paged.begin[first_row + row], a.paged.end[first_row + row]} : Interval{0, 0};
  };
  const Interval seen = hull_of(interval_of(lane), interval_of(lane + 32));
  Interval mine[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int32_t pair = 16 * warp + lane / 4 + 8 * r;
    mine[r] = interval_of(pair < pairs ? pair / group : tile.rows);
  }
  const Interval warp_seen = hull_of(mine[0], mine[1]);
  // What all of the warp's rows see. Rows that are none mask nothing: nobody reads their results.
  const bool none[2] = {16 * warp + lane / 4 >= pairs, 16 * warp + lane / 4 + 8 >= pairs};
  const int32_t begin_0 = none[0] ? 0 : mine[0].begin, begin_1 = none[1] ? 0 : mine[1].begin;
  const int32_t end_0 = none[0] ? 0x7fffffff : mine[0].end, end_1 = none[1] ? 0x7fffffff : mine[1].end;
  const int32_t all_begin = warp_most(begin_0 > begin_1 ? begin_0 : begin_1),
                all_end = warp_least(end_0 < end_1 ? end_0 : end_1);

  Page page = from < to ? page_at(a.paged.pages, from) : Page{0, 0, 0};
  ptx::wait_for_earlier_launches();

  // Queries: pair p is row p / group, head p % group of the kv head's.
  constexpr int kPieces = d / 8;
#pragma unroll
  for (int i = 0; i < kTilePairs * kPieces / kThreads; ++i) {
    const int32_t item = static_cast<int32_t>(threadIdx.x) + i * kThreads, pair = item / kPieces,
                  piece = item % kPieces;
    const bool valid = pair < pairs;
    const int64_t row = first_row + (valid ? pair / group : 0),
                  head = int64_t{kv_head} * group + (valid ? pair % group : 0);
    ptx::copy_async(queries + pair * kPitch<d> + 8 * piece, a.in + row * a.in_cols + head * d + 8 * piece, valid);
  }
  ptx::commit_copies();

  const auto copy_page = [&](bf16* chunk, const bf16* cache, const Page& p) {
    const bf16* rows = cache + (int64_t{p.page} * a.kv_heads + kv_head) * (kKeys * d);
    const int32_t begin = seen.begin - p.first_key,
                  end = seen.end - p.first_key < p.fill ? seen.end - p.first_key : p.fill;
    copy_rows<d, kKeys, kThreads>(chunk, threadIdx.x, rows, d, [&](int32_t row) { return row >= begin && row < end; });
  };
  if (from < to) copy_page(keys, a.paged.keys, page);
  ptx::commit_copies();

  ptx::wait_copies<1>();
  __syncthreads();  // the queries are there
  const Query<d> query(queries + 16 * warp * kPitch<d>);

  float out[1][d / 8][4];
  clear(out);
  Softmax state;
  for (int32_t p = from; p < to; ++p) {
    const Page next = p + 1 < to ? page_at(a.paged.pages, p + 1) : page;
    ptx::wait_copies<0>();
    __syncthreads();  // the keys are there, and nobody reads the values before any more
    copy_page(values, a.paged.values, page);
    ptx::commit_copies();

    const int32_t last = page.first_key + page.fill;
    // Some row of the warp sees some key: the same for all lanes.
    const bool active = warp_seen.begin < last && warp_seen.end > page.first_key;
    float s[1][kKeyTiles][4];
    if (active) {
      multiply_keys<d>(s, query, keys);
      if (page.fill < kKeys || all_begin > page.first_key || all_end < last) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const int32_t begin = mine[r].begin - page.first_key,
                        end = mine[r].end < last ? mine[r].end - page.first_key : page.fill;
#pragma unroll
          for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
              const int32_t key = 8 * n + 2 * (lane % 4) + i;
              if (key < begin || key >= end) s[0][n][2 * r + i] = no_key();
            }
          }
        }
      }
    }

    ptx::wait_copies<0>();
    __syncthreads();  // the values are there, and nobody reads these keys any more
    if (p + 1 < to) copy_page(keys, a.paged.keys, next);
    ptx::commit_copies();
    if (active) {
      soften<d>(state, s[0], out[0], a.scale);
      multiply_values<d>(out, s, values);
    }
    page = next;
  }

  if (shares > 1) {
    // Sums to the workspace; the last block to arrive makes them the result. Weights and totals stand where the keys
    // were.
    const int64_t which = int64_t{blockIdx.y} * gridDim.x + blockIdx.x, first_state = which * most_shares * kTilePairs;
    const int32_t g = lane / 4, t = lane % 4, thread = static_cast<int32_t>(threadIdx.x);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int64_t at = first_state + share * kTilePairs + 16 * warp + g + 8 * r;
      const float sum = row_sum(state.sum[r]);
      if (t == 0) a.partial.state[at] = make_float2(state.most[r], sum);
#pragma unroll
      for (int n = 0; n < d / 8; ++n)
        *reinterpret_cast<float2*>(a.partial.sums + at * d + 8 * n + 2 * t) =
            make_float2(out[0][n][2 * r], out[0][n][2 * r + 1]);
    }
    if (!arrives_last(a.partial.arrived + which, shares, place)) return;
    float* weight = reinterpret_cast<float*>(keys);   // [share][64]
    float* total = reinterpret_cast<float*>(values);  // [64]
    static_assert(kMostShares <= kPitch<d> / 2);
    if (thread < pairs)
      total[thread] = weigh(weight + thread, kTilePairs, shares, a.scale, [&](int32_t i) {
                        return a.partial.state[first_state + i * kTilePairs + thread];
                      }).y;
    __syncthreads();  // weights and totals are there
    for (int32_t item = thread; item < pairs * (d / 4); item += kThreads) {
      const int32_t pair = item / (d / 4), column = item % (d / 4) * 4;
      const float4 x = merge_four(a.partial.sums + (first_state + pair) * d + column, kTilePairs * d, weight + pair,
                                  kTilePairs, shares);
      store_four(a.out + ((first_row + pair / group) * a.heads + kv_head * group + pair % group) * d + column, x,
                 share_of(total[pair]));
    }
    return;
  }

  // Through shared memory, so that rows are stored 16 bytes a lane. A warp reads and writes its own pairs' place alone.
  __syncwarp();  // all lanes have read the queries
  put_rows<d>(queries + 16 * warp * kPitch<d>, out[0], state.sum);
  __syncwarp();  // the rows are there
  for (int32_t item = lane; item < 16 * kPieces; item += 32) {
    const int32_t pair = 16 * warp + item / kPieces, piece = item % kPieces;
    if (pair >= pairs) continue;
    bf16* result = a.out + ((first_row + pair / group) * a.heads + kv_head * group + pair % group) * d + 8 * piece;
    store_eight(result, load_eight(queries + pair * kPitch<d> + 8 * piece));
  }
}

template <int d>
Status launch_prefill(const PrefillArgs& args, int32_t shares, Stream stream) {
  const uint32_t bytes = (kTilePairs + 2 * kKeys) * kPitch<d> * sizeof(bf16) + sizeof(uint32_t);
  if (const Status status = allow_shared(attention_prefill_kernel<d>, bytes); status != Status::ok) return status;
  const dim3 grid(static_cast<uint32_t>(args.kv_heads), static_cast<uint32_t>(args.tile_count),
                  static_cast<uint32_t>(shares));
  return launch(attention_prefill_kernel<d>, {grid, dim3(kThreads), bytes, stream, kDependent}, args);
}

}  // namespace

Status enqueue_attention_prefill(const Op& op) {
  const nvlm_constants& c = op.c();
  const bool self = c.source == NVLM_KEYS_SELF;
  PrefillArgs args{op.in,
                   op.out_bf16(),
                   paged_keys(op),
                   self ? op.batch->self_tiles : op.batch->cross_tiles,
                   op.in_cols,
                   c.heads,
                   c.kv_heads,
                   self ? op.batch->self_tile_count : op.batch->cross_tile_count,
                   attention_scale(c.head_dim),
                   {}};
  if (c.heads / c.kv_heads > kTilePairs || args.tile_count > 65535) return Status::invalid;
  if (args.tile_count == 0) return Status::ok;
  const int64_t blocks = int64_t{args.tile_count} * c.kv_heads;
  const int32_t most = page_shares(op.device->multiprocessors, blocks),
                shares = most < kMostShares ? most : kMostShares;
  if (!partial_of(*op.workspace, blocks, shares, kTilePairs, c.head_dim, &args.partial)) return Status::invalid;
  switch (c.head_dim) {
    case 64: return launch_prefill<64>(args, shares, op.stream);
    case 80: return launch_prefill<80>(args, shares, op.stream);
    case 96: return launch_prefill<96>(args, shares, op.stream);
    case 128: return launch_prefill<128>(args, shares, op.stream);
    default: return Status::invalid;
  }
}

}  // namespace nvlm::gpu
