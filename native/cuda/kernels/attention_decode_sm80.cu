// attention (ops/ops.h) over pages with one row a sequence: decode. in [rows, in_cols], queries first.
//
// A block takes one row and up to 16 query heads of one kv head (larger groups: several blocks, which find the pages in L2), and a share of the pages
// of the row's interval. Its warps take 16 keys each of every page, each with copies, softmax and sums of its own, so that they meet only in the end. With
// several shares the partial results go to the workspace, and the last block to arrive merges them in their order.
// The number of shares follows from the launch's sizes, so that a graph can hold it; which pages they are is read from device memory.
// Keys outside the interval are zeros in shared memory, never read.
// grid: rows x kv heads (x groups) x splits | block: 4 warps | shared: 39 KB (d 64) to 73 KB (d 128), three blocks an SM on Hopper | bound by memory: keys and values are read once
#include "cuda/kernels/attention_choice.cuh"
#include "cuda/kernels/attention_mma.cuh"
#include "cuda/ptx/common.h"

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
  // [rows * kv_heads * groups][splits][heads of the block]: sums [head_dim], and {largest score, weight}
  float* partial;
  float2* partial_state;
  uint32_t* arrived;  // [rows * kv_heads * groups]
};

// The pages [first, last) of a list that [begin, end) touches. Both counts grow along the list, so that a warp counts them in strides.
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
  bf16* stages = shared.take<bf16>(kWarps * kStages * 2 * kTile);   // [warp][stage][keys, values][16][pitch]; in the end sums and weights
  bf16* queries = shared.take<bf16>(kDecodeHeads * kPitch<d>);
  float2* warp_state = shared.take<float2>(kWarps * kDecodeHeads);  // {largest score, weight}
  float2* total = shared.take<float2>(kDecodeHeads);
  uint32_t* place = shared.take<uint32_t>(1);

  const int32_t lane = static_cast<int32_t>(threadIdx.x % 32), warp = static_cast<int32_t>(threadIdx.x / 32);
  const int64_t row = blockIdx.x;
  const int32_t kv_head = static_cast<int32_t>(blockIdx.y) / a.groups, group = a.heads / a.kv_heads;
  const int32_t first_head = static_cast<int32_t>(blockIdx.y) % a.groups * kDecodeHeads;  // within the group
  const int32_t heads = group - first_head < kDecodeHeads ? group - first_head : kDecodeHeads;
  const int32_t split = static_cast<int32_t>(blockIdx.z), splits = static_cast<int32_t>(gridDim.z);
  const int64_t head_0 = int64_t{kv_head} * group + first_head;

  // Queries, [16][d]; rows behind the group's are zeros.
  for (int32_t item = static_cast<int32_t>(threadIdx.x); item < kDecodeHeads * kPieces; item += kThreads) {
    const int32_t head = item / kPieces, piece = item % kPieces;
    ptx::copy_async(queries + head * kPitch<d> + 8 * piece, a.in + row * a.in_cols + (head_0 + (head < heads ? head : 0)) * d + 8 * piece, head < heads);
  }
  ptx::commit_copies();

  // This block's pages.
  const int32_t begin = a.paged.begin[row], end = a.paged.end[row];
  const PageList& list = a.paged.pages;
  const PageRange range = touched(list, static_cast<int32_t>(row), begin, end);
  const int64_t pages = range.last - range.first;
  const int32_t from = range.first + static_cast<int32_t>(pages * split / splits), to = range.first + static_cast<int32_t>(pages * (split + 1) / splits);

  // A warp's 16 keys and values of page i go to its stage i % 2.
  bf16* mine = stages + warp * kStages * 2 * kTile;
  const auto sees = [&](const Page& page, int32_t key) { return key < page.fill && page.first_key + key >= begin && page.first_key + key < end; };
  const auto copy_page = [&](int32_t i, const Page& page) {
    if (i < to) {
      const int64_t at = ((int64_t{page.page} * a.kv_heads + kv_head) * NVLM_PAGE_KEYS + kWarpKeys * warp) * d;
      const auto seen = [&](int32_t key) { return sees(page, kWarpKeys * warp + key); };
      bf16* stage = mine + (i - from) % kStages * 2 * kTile;
      copy_rows<d, kWarpKeys, 32>(stage, threadIdx.x % 32, a.paged.keys + at, d, seen);
      copy_rows<d, kWarpKeys, 32>(stage + kTile, threadIdx.x % 32, a.paged.values + at, d, seen);
    }
    ptx::commit_copies();
  };
  const auto page_or_none = [&](int32_t i) { return i < to ? page_at(list, i) : Page{0, 0, 0}; };
  Page page = page_or_none(from), next = page_or_none(from + 1);
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
    multiply_keys<false, d>(s, query, stage, kWarpKeys);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (!sees(page, kWarpKeys * warp + 8 * n + 2 * (lane % 4) + j % 2)) s[0][n][j] = no_key();
      }
    }
    soften<d>(state, s[0], out[0], a.scale);
    multiply_values<false, d>(out, s, stage + kTile, kWarpKeys);
    __syncwarp();  // all lanes have read this stage; the next copy goes there
    page = next;
    next = after;
  }
  ptx::wait_copies<0>();
  __syncthreads();  // nobody uses the stages any more

  // The warps' sums to shared memory, where the stages were; behind them the weights of the warps, later of the splits.
  float* sums = reinterpret_cast<float*>(stages);  // [warp][16][d + 8]
  float* weight = sums + kWarps * kDecodeHeads * kSumPitch;  // [warp or split][16]
  static_assert((kWarps * kSumPitch + kMaxSplits) * kDecodeHeads * sizeof(float) <= kWarps * kStages * 2 * kTile * sizeof(bf16));
  const int32_t g = lane / 4, t = lane % 4;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float sum = row_sum(state.sum[r]);
    if (t == 0) warp_state[warp * kDecodeHeads + g + 8 * r] = make_float2(state.most[r], sum);
#pragma unroll
    for (int n = 0; n < d / 8; ++n) {
      *reinterpret_cast<float2*>(sums + (warp * kDecodeHeads + g + 8 * r) * kSumPitch + 8 * n + 2 * t) = make_float2(out[0][n][2 * r], out[0][n][2 * r + 1]);
    }
  }
  __syncthreads();  // they are there

  // The weights of `count` partial results with states state_at(i, head), and their total, by the first 16 threads.
  const auto weigh = [&](int32_t count, const auto& state_at) {
    if (threadIdx.x < kDecodeHeads && static_cast<int32_t>(threadIdx.x) < heads) {
      const int32_t head = static_cast<int32_t>(threadIdx.x);
      float most = no_key(), sum = 0;
      for (int32_t i = 0; i < count; ++i) most = fmaxf(most, state_at(i, head).x);
      for (int32_t i = 0; i < count; ++i) {
        const float2 part = state_at(i, head);
        const float w = part.x == no_key() ? 0.0f : ptx::exp2_fast((part.x - most) * a.scale);
        weight[i * kDecodeHeads + head] = w;
        sum = fmaf(part.y, w, sum);
      }
      total[head] = make_float2(most, sum);
    }
    __syncthreads();  // weights and totals are there
  };
  weigh(kWarps, [&](int32_t i, int32_t head) { return warp_state[i * kDecodeHeads + head]; });

  const auto store_four = [&](int32_t head, int32_t column, float4 x, float share) {
    const uint2 pairs = make_uint2(ptx::round_pair(x.x * share, x.y * share), ptx::round_pair(x.z * share, x.w * share));
    *reinterpret_cast<uint2*>(a.out + (row * a.heads + head_0 + head) * d + column) = pairs;
  };
  const int64_t which = row * gridDim.y + blockIdx.y;
  for (int32_t item = static_cast<int32_t>(threadIdx.x); item < heads * (d / 4); item += kThreads) {
    const int32_t head = item / (d / 4), column = item % (d / 4) * 4;
    float4 x = make_float4(0, 0, 0, 0);
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const float4 part = *reinterpret_cast<const float4*>(sums + (w * kDecodeHeads + head) * kSumPitch + column);
      const float factor = weight[w * kDecodeHeads + head];
      x = make_float4(fmaf(part.x, factor, x.x), fmaf(part.y, factor, x.y), fmaf(part.z, factor, x.z), fmaf(part.w, factor, x.w));
    }
    if (splits == 1) {
      store_four(head, column, x, share_of(total[head].y));
    } else {
      *reinterpret_cast<float4*>(a.partial + ((which * splits + split) * kDecodeHeads + head) * d + column) = x;
    }
  }
  if (splits == 1) return;
  if (static_cast<int32_t>(threadIdx.x) < heads) a.partial_state[(which * splits + split) * kDecodeHeads + threadIdx.x] = total[threadIdx.x];

  // The last block to arrive merges.
  __syncthreads();  // this block's partial results are written
  if (threadIdx.x == 0) *place = ptx::add_acquire_release(a.arrived + which, 1);
  __syncthreads();  // place is there, and what the blocks before wrote can be seen
  if (*place != static_cast<uint32_t>(splits) - 1) return;
  if (threadIdx.x == 0) a.arrived[which] = 0;  // for the next launch
  weigh(splits, [&](int32_t i, int32_t head) { return a.partial_state[(which * splits + i) * kDecodeHeads + head]; });
  for (int32_t item = static_cast<int32_t>(threadIdx.x); item < heads * (d / 4); item += kThreads) {
    const int32_t head = item / (d / 4), column = item % (d / 4) * 4;
    float4 x = make_float4(0, 0, 0, 0);
#pragma unroll 4
    for (int32_t i = 0; i < splits; ++i) {
      const float factor = weight[i * kDecodeHeads + head];
      const float4 part = *reinterpret_cast<const float4*>(a.partial + ((which * splits + i) * kDecodeHeads + head) * d + column);
      x = make_float4(fmaf(part.x, factor, x.x), fmaf(part.y, factor, x.y), fmaf(part.z, factor, x.z), fmaf(part.w, factor, x.w));
    }
    store_four(head, column, x, share_of(total[head].y));
  }
}

template <int d>
Status launch_decode(const DecodeArgs& args, dim3 grid, Stream stream) {
  const uint32_t bytes = (kWarps * kStages * 2 * kWarpKeys + kDecodeHeads) * kPitch<d> * sizeof(bf16) + kWarps * kDecodeHeads * sizeof(float2) +
                         kDecodeHeads * sizeof(float2) + sizeof(uint32_t);
  if (const Status status = allow_shared(attention_decode_kernel<d>, bytes); status != Status::ok) return status;
  return launch(attention_decode_kernel<d>, {grid, dim3(kThreads), bytes, stream}, args);
}

}  // namespace

Status enqueue_attention_decode(const Op& op) {
  const nvlm_constants& c = op.c();
  if (op.in_rows == 0) return Status::ok;
  const int32_t groups = decode_groups(c.heads, c.kv_heads), splits = decode_splits(op.device->multiprocessors, op.in_rows, c.heads, c.kv_heads);
  const int64_t blocks = op.in_rows * c.kv_heads * groups, states = blocks * splits * kDecodeHeads;
  const Workspace& w = *op.workspace;
  if (splits > 1 && (w.float_count < states * (c.head_dim + 2) || w.counter_count < blocks)) return Status::invalid;
  const DecodeArgs args{op.in,    op.out_bf16(), paged_keys(op), op.in_cols, c.heads, c.kv_heads, groups, attention_scale(c.head_dim),
                        w.floats, splits > 1 ? reinterpret_cast<float2*>(w.floats + states * c.head_dim) : nullptr, w.counters};
  const dim3 grid(static_cast<uint32_t>(op.in_rows), static_cast<uint32_t>(c.kv_heads * groups), static_cast<uint32_t>(splits));
  switch (c.head_dim) {
    case 64: return launch_decode<64>(args, grid, op.stream);
    case 80: return launch_decode<80>(args, grid, op.stream);
    case 96: return launch_decode<96>(args, grid, op.stream);
    case 128: return launch_decode<128>(args, grid, op.stream);
    default: return Status::invalid;
  }
}

}  // namespace nvlm::gpu
