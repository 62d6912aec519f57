// attention (ops/ops.h) over pages with one row a sequence: decode. in [rows, in_cols], queries first.
//
// A block takes one row and up to 16 query heads of one kv head (larger groups: several blocks, which find the pages in
// L2), and a share of the pages of the row's interval. Its warps take 16 keys each of every page, each with copies,
// softmax and sums of its own, so that they meet only in the end. With several shares the partial results go to the
// workspace, and the last block to arrive merges them in their order.
// The number of shares follows from the launch's sizes, so that a graph can hold it; which pages they are is read from
// device memory.
// Keys outside the interval are zeros in shared memory, never read.
// grid: rows x kv heads (x groups) x shares | block: 4 warps | shared: 39 KB (d 64) to 73 KB (d 128), three blocks an
// SM on Hopper | registers: 106 to 143 bound by memory: keys and values are read once
#include "cuda/kernels/attention_choice.cuh"
#include "cuda/kernels/attention_mma.cuh"
#include "cuda/ptx/sm90.h"

namespace nvlm::gpu {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps, kWarpKeys = NVLM_PAGE_KEYS / kWarps, kStages = 2;
static_assert(kWarpKeys == 16 && kDecodeHeads == 16);

struct DecodeArgs {
  const bf16* in;
  bf16* out;  // [rows, heads * head_dim]
  PagedKeys paged;
  int64_t in_cols;
  int32_t heads, kv_heads, groups;
  float scale;
  Partial partial;  // of blocks (row, kv head and group), 16 rows each
};

// The pages [first, last) of a list that [begin, end) touches. Both counts grow along the list, so that a warp counts
// them in strides.
struct PageRange {
  int32_t first, last;
};
__device__ __forceinline__ PageRange touched(const PageList& list, int32_t sequence, int32_t begin, int32_t end) {
  const int32_t from = list.begin[sequence], to = list.begin[sequence + 1];
  int32_t before = 0, until = 0;
  if (begin < end) {  // the same for the whole block
    for (int32_t at = from; at < to; at += 32) {
      const int32_t i = at + static_cast<int32_t>(threadIdx.x % 32);
      const int32_t number = i < to ? list.first_key[i] : 0, fill = i < to ? list.fill[i] : 0;
      before += __popc(__ballot_sync(kFullWarp, i < to && number + fill <= begin));
      until += __popc(__ballot_sync(kFullWarp, i < to && number < end));
    }
  }
  return {from + before, from + (until > before ? until : before)};
}

template <int d>
__global__ void __launch_bounds__(kThreads, 3) attention_decode_kernel(const __grid_constant__ DecodeArgs a) {
  constexpr int kPieces = d / 8, kTile = kWarpKeys * kPitch<d>, kSumPitch = d + 8;
  SharedMemory shared;
  // [warp][stage][keys, values][16][pitch]; in the end sums and weights.
  bf16* stages = shared.take<bf16>(kWarps * kStages * 2 * kTile);
  bf16* queries = shared.take<bf16>(kDecodeHeads * kPitch<d>);
  float2* warp_state = shared.take<float2>(kWarps * kDecodeHeads);  // {largest score, weight}
  float2* total = shared.take<float2>(kDecodeHeads);
  uint32_t* place = shared.take<uint32_t>(1);

  const int32_t lane = static_cast<int32_t>(threadIdx.x % 32), warp = static_cast<int32_t>(threadIdx.x / 32);
  const int64_t row = blockIdx.x;
  const int32_t kv_head = static_cast<int32_t>(blockIdx.y) / a.groups, group = a.heads / a.kv_heads;
  const int32_t first_head = static_cast<int32_t>(blockIdx.y) % a.groups * kDecodeHeads;  // within the group
  const int32_t heads = group - first_head < kDecodeHeads ? group - first_head : kDecodeHeads;
  const int64_t head_0 = int64_t{kv_head} * group + first_head;

  // This block's pages, found while earlier launches may still run: the lists were copied before the first launch of
  // the step. With fewer pages than shares the last blocks have nothing to do.
  ptx::let_next_launch_begin();
  const int32_t begin = a.paged.begin[row], end = a.paged.end[row];
  const PageList& list = a.paged.pages;
  const PageRange range = touched(list, static_cast<int32_t>(row), begin, end);
  const int32_t pages = range.last - range.first, share = static_cast<int32_t>(blockIdx.z),
                most_shares = static_cast<int32_t>(gridDim.z);
  const int32_t shares = pages < most_shares ? (pages > 1 ? pages : 1) : most_shares;
  if (share >= shares) return;
  const int32_t from = range.first + static_cast<int32_t>(int64_t{pages} * share / shares),
                to = range.first + static_cast<int32_t>(int64_t{pages} * (share + 1) / shares);

  const auto page_or_none = [&](int32_t i) { return i < to ? page_at(list, i) : Page{0, 0, 0}; };
  Page page = page_or_none(from), next = page_or_none(from + 1);
  ptx::wait_for_earlier_launches();

  // Queries, [16][d]; rows behind the group's are zeros.
  for (int32_t item = static_cast<int32_t>(threadIdx.x); item < kDecodeHeads * kPieces; item += kThreads) {
    const int32_t head = item / kPieces, piece = item % kPieces;
    ptx::copy_async(queries + head * kPitch<d> + 8 * piece,
                    a.in + row * a.in_cols + (head_0 + (head < heads ? head : 0)) * d + 8 * piece, head < heads);
  }
  ptx::commit_copies();

  // A warp's 16 keys and values of page i go to its stage i % 2.
  bf16* mine = stages + warp * kStages * 2 * kTile;
  const auto sees = [&](const Page& p, int32_t key) {
    return key < p.fill && p.first_key + key >= begin && p.first_key + key < end;
  };
  const auto copy_page = [&](int32_t i, const Page& p) {
    if (i < to) {
      const int64_t at = ((int64_t{p.page} * a.kv_heads + kv_head) * NVLM_PAGE_KEYS + kWarpKeys * warp) * d;
      const auto seen = [&](int32_t key) { return sees(p, kWarpKeys * warp + key); };
      bf16* stage = mine + (i - from) % kStages * 2 * kTile;
      copy_rows<d, kWarpKeys, 32>(stage, threadIdx.x % 32, a.paged.keys + at, d, seen);
      copy_rows<d, kWarpKeys, 32>(stage + kTile, threadIdx.x % 32, a.paged.values + at, d, seen);
    }
    ptx::commit_copies();
  };
  copy_page(from, page);

  ptx::wait_copies<1>();
  __syncthreads();  // the queries are there
  const Query<d> query(queries);

  // Pages.
  float out[1][d / 8][4];
  clear(out);
  Softmax state;
  for (int32_t i = from; i < to; ++i) {
    copy_page(i + 1, next);
    const Page after = page_or_none(i + 2);
    ptx::wait_copies<1>();
    __syncwarp();  // this page's keys and values are there for all lanes

    const bf16* stage = mine + (i - from) % kStages * 2 * kTile;
    float s[1][2][4];
    multiply_keys<d>(s, query, stage);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (!sees(page, kWarpKeys * warp + 8 * n + 2 * (lane % 4) + j % 2)) s[0][n][j] = no_key();
      }
    }
    soften<d>(state, s[0], out[0], a.scale);
    multiply_values<d>(out, s, stage + kTile);
    __syncwarp();  // all lanes have read this stage; the next copy goes there
    page = next;
    next = after;
  }
  ptx::wait_copies<0>();
  __syncthreads();  // nobody uses the stages any more

  // The warps' sums to shared memory, where the stages were; behind them the weights of the warps, later of the shares.
  float* sums = reinterpret_cast<float*>(stages);            // [warp][16][d + 8]
  float* weight = sums + kWarps * kDecodeHeads * kSumPitch;  // [warp or share][16]
  static_assert((kWarps * kSumPitch + kMaxShares) * kDecodeHeads * sizeof(float) <=
                kWarps * kStages * 2 * kTile * sizeof(bf16));
  const int32_t g = lane / 4, t = lane % 4;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float sum = row_sum(state.sum[r]);
    if (t == 0) warp_state[warp * kDecodeHeads + g + 8 * r] = make_float2(state.most[r], sum);
#pragma unroll
    for (int n = 0; n < d / 8; ++n) {
      *reinterpret_cast<float2*>(sums + (warp * kDecodeHeads + g + 8 * r) * kSumPitch + 8 * n + 2 * t) =
          make_float2(out[0][n][2 * r], out[0][n][2 * r + 1]);
    }
  }
  __syncthreads();  // they are there

  // They become the block's. A thread takes the weights of one head, then four columns at a time.
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  if (thread < heads)
    total[thread] = weigh(weight + thread, kDecodeHeads, kWarps, a.scale,
                          [&](int32_t w) { return warp_state[w * kDecodeHeads + thread]; });
  __syncthreads();  // weights and totals are there
  bf16* out_0 = a.out + (row * a.heads + head_0) * d;
  const int64_t which = row * gridDim.y + blockIdx.y, first_state = which * most_shares * kDecodeHeads;
  for (int32_t item = thread; item < heads * (d / 4); item += kThreads) {
    const int32_t head = item / (d / 4), column = item % (d / 4) * 4;
    const float4 x =
        merge_four(sums + head * kSumPitch + column, kDecodeHeads * kSumPitch, weight + head, kDecodeHeads, kWarps);
    if (shares == 1) {
      store_four(out_0 + head * d + column, x, share_of(total[head].y));
    } else {
      *reinterpret_cast<float4*>(a.partial.sums + (first_state + share * kDecodeHeads + head) * d + column) = x;
    }
  }
  if (shares == 1) return;
  if (thread < heads) a.partial.state[first_state + share * kDecodeHeads + thread] = total[thread];

  // The shares' sums become the result.
  if (!arrives_last(a.partial.arrived + which, shares, place)) return;
  if (thread < heads)
    total[thread] = weigh(weight + thread, kDecodeHeads, shares, a.scale,
                          [&](int32_t i) { return a.partial.state[first_state + i * kDecodeHeads + thread]; });
  __syncthreads();  // weights and totals are there
  for (int32_t item = thread; item < heads * (d / 4); item += kThreads) {
    const int32_t head = item / (d / 4), column = item % (d / 4) * 4;
    const float4 x = merge_four(a.partial.sums + (first_state + head) * d + column, kDecodeHeads * d, weight + head,
                                kDecodeHeads, shares);
    store_four(out_0 + head * d + column, x, share_of(total[head].y));
  }
}

template <int d>
Status launch_decode(const DecodeArgs& args, dim3 grid, Stream stream) {
  const uint32_t bytes = (kWarps * kStages * 2 * kWarpKeys + kDecodeHeads) * kPitch<d> * sizeof(bf16) +
                         kWarps * kDecodeHeads * sizeof(float2) + kDecodeHeads * sizeof(float2) + sizeof(uint32_t);
  if (const Status status = allow_shared(attention_decode_kernel<d>, bytes); status != Status::ok) return status;
  return launch(attention_decode_kernel<d>, {grid, dim3(kThreads), bytes, stream, kDependent}, args);
}

}  // namespace

Status enqueue_attention_decode(const Op& op) {
  const nvlm_constants& c = op.c();
  if (op.in_rows == 0) return Status::ok;
  const int32_t groups = decode_groups(c.heads, c.kv_heads);
  const int64_t blocks = op.in_rows * c.kv_heads * groups;
  const int32_t shares = page_shares(op.device->multiprocessors, blocks);
  DecodeArgs args{
      op.in, op.out_bf16(), paged_keys(op), op.in_cols, c.heads, c.kv_heads, groups, attention_scale(c.head_dim), {}};
  if (!partial_of(*op.workspace, blocks, shares, kDecodeHeads, c.head_dim, &args.partial)) return Status::invalid;
  const dim3 grid(static_cast<uint32_t>(op.in_rows), static_cast<uint32_t>(c.kv_heads * groups),
                  static_cast<uint32_t>(shares));
  switch (c.head_dim) {
    case 64: return launch_decode<64>(args, grid, op.stream);
    case 80: return launch_decode<80>(args, grid, op.stream);
    case 96: return launch_decode<96>(args, grid, op.stream);
    case 128: return launch_decode<128>(args, grid, op.stream);
    default: return Status::invalid;
  }
}

}  // namespace nvlm::gpu
