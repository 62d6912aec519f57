// attention (ops/ops.h) for any head_dim that is a multiple of 8, up to 4096, and any source: correct first. The common
// head sizes have kernels of their own.
//
// A warp takes one (row, head): groups of lanes take different keys, each lane some pieces of 8 columns, with an online
// softmax a group, merged in the end.
// grid: rows x heads / 4 | block: 4 warps | shared: none | registers: 40 (d up to 256), 72 (1024), 255 | bound by
// latency and shuffles
#include "cuda/kernels/attention_choice.cuh"
#include "cuda/ptx/sm90.h"
#include "cuda/reduce.cuh"

namespace nvlm::gpu {
namespace {

constexpr uint32_t kWarps = 4;

struct AnyArgs {
  const bf16* in;  // [rows, in_cols]: queries first
  bf16* out;       // [rows, heads * head_dim]
  int64_t in_cols;
  PagedKeys paged;
  const int32_t* row_sequence;  // null: sequence = row
  int32_t rows_each;            // keys are the rows of the row's tile; 0: pages
  int32_t heads, kv_heads, head_dim;
  float scale;
};

// Keys `from` to `to` of a run: key i's row of head_dim elements lies at key + i * stride.
struct KeyRun {
  const bf16 *key, *value;
  int64_t stride;
  int32_t from, to;
};

template <int chunks>
struct State {
  float most, sum, out[chunks][8];
};

// The lanes of a group hold one state: lane i of it columns 8 * (i + j * lanes) of piece j.
template <int chunks>
__device__ __forceinline__ void attend(State<chunks>& state, const KeyRun& run, const bf16* query, int32_t head_dim,
                                       int32_t lanes, float scale) {
  const int32_t lane = static_cast<int32_t>(threadIdx.x % 32), column = 8 * (lane % lanes), step = 8 * lanes,
                groups = 32 / lanes;
  for (int32_t first = run.from; first < run.to; first += groups) {
    const int32_t key = first + lane / lanes;
    const bool valid = key < run.to;
    float dot = 0;
#pragma unroll
    for (int j = 0; j < chunks; ++j) {
      if (!valid || column + j * step >= head_dim) continue;
      const Eight q = widen(load_eight(query + column + j * step)),
                  k = widen(load_eight(run.key + key * run.stride + column + j * step));
#pragma unroll
      for (int i = 0; i < 8; ++i) dot = fmaf(q.value[i], k.value[i], dot);
    }
    for (int32_t other = lanes / 2; other > 0; other /= 2)
      dot += __shfl_xor_sync(kFullWarp, dot, static_cast<uint32_t>(other));
    if (!valid) continue;
    const float most = fmaxf(state.most, dot);
    const float keep = ptx::exp2_fast((state.most - most) * scale), weight = ptx::exp2_fast((dot - most) * scale);
    state.most = most;
    state.sum = state.sum * keep + weight;
#pragma unroll
    for (int j = 0; j < chunks; ++j) {
      if (column + j * step >= head_dim) continue;
      const Eight v = widen(load_eight(run.value + key * run.stride + column + j * step));
#pragma unroll
      for (int i = 0; i < 8; ++i) state.out[j][i] = fmaf(weight, v.value[i], state.out[j][i] * keep);
    }
  }
}

template <int chunks>
__global__ void __launch_bounds__(kWarps * 32) attention_any_kernel(const __grid_constant__ AnyArgs a) {
  const int32_t head = static_cast<int32_t>(blockIdx.y * kWarps + threadIdx.x / 32);
  if (head >= a.heads) return;  // the whole warp
  ptx::let_next_launch_begin();
  ptx::wait_for_earlier_launches();
  const int64_t row = blockIdx.x;
  const int32_t d = a.head_dim, kv_head = head / (a.heads / a.kv_heads), lane = static_cast<int32_t>(threadIdx.x % 32);
  int32_t lanes = 1;
  while (lanes < 32 && 8 * lanes < d) lanes *= 2;
  const bf16* query = a.in + row * a.in_cols + int64_t{head} * d;

  State<chunks> state;
  state.most = __uint_as_float(0xff800000u);
  state.sum = 0;
#pragma unroll
  for (int j = 0; j < chunks; ++j) {
#pragma unroll
    for (int i = 0; i < 8; ++i) state.out[j][i] = 0;
  }

  if (a.rows_each > 0) {
    const int64_t width = int64_t{a.heads} * d;
    const bf16* first = a.in + row / a.rows_each * a.rows_each * a.in_cols + int64_t{head} * d;
    attend<chunks>(state, {first + width, first + 2 * width, a.in_cols, 0, a.rows_each}, query, d, lanes, a.scale);
  } else {
    const int64_t sequence = a.row_sequence ? a.row_sequence[row] : row;
    const int32_t begin = a.paged.begin[row], end = a.paged.end[row];
    const PageList& pages = a.paged.pages;
    for (int32_t p = pages.begin[sequence]; p < pages.begin[sequence + 1]; ++p) {
      const int32_t number = pages.first_key[p], fill = pages.fill[p];
      const int32_t from = begin - number > 0 ? begin - number : 0, to = end - number < fill ? end - number : fill;
      if (from >= to) continue;
      const int64_t at = (int64_t{pages.page[p]} * a.kv_heads + kv_head) * NVLM_PAGE_KEYS * d;
      attend<chunks>(state, {a.paged.keys + at, a.paged.values + at, d, from, to}, query, d, lanes, a.scale);
    }
  }

  // The groups' states become one.
  for (int32_t other = lanes; other < 32; other *= 2) {
    const float their_most = __shfl_xor_sync(kFullWarp, state.most, static_cast<uint32_t>(other));
    const float most = fmaxf(state.most, their_most);
    const bool none = most == __uint_as_float(0xff800000u);
    const float mine = none ? 0.0f : ptx::exp2_fast((state.most - most) * a.scale),
                theirs = none ? 0.0f : ptx::exp2_fast((their_most - most) * a.scale);
    state.most = most;
    state.sum = state.sum * mine + __shfl_xor_sync(kFullWarp, state.sum, static_cast<uint32_t>(other)) * theirs;
#pragma unroll
    for (int j = 0; j < chunks; ++j) {
#pragma unroll
      for (int i = 0; i < 8; ++i)
        state.out[j][i] =
            state.out[j][i] * mine + __shfl_xor_sync(kFullWarp, state.out[j][i], static_cast<uint32_t>(other)) * theirs;
    }
  }

  if (lane >= lanes) return;
  // No keys: zeros; NaN stays.
  const float share = state.sum > 0 ? 1.0f / state.sum : state.sum == 0 ? 0.0f : state.sum;
  bf16* out = a.out + row * a.heads * d + int64_t{head} * d;
#pragma unroll
  for (int j = 0; j < chunks; ++j) {
    const int32_t column = 8 * (lane + j * lanes);
    if (column >= d) continue;
    Eight x;
#pragma unroll
    for (int i = 0; i < 8; ++i) x.value[i] = state.out[j][i] * share;
    store_eight(out + column, narrow(x));
  }
}

}  // namespace

Status enqueue_attention_any(const Op& op) {
  const nvlm_constants& c = op.c();
  if (c.head_dim % 8 || c.head_dim > 4096) return Status::invalid;
  const bool tile = c.source == NVLM_KEYS_TILE;
  if (tile && (c.rows_each <= 0 || c.heads != c.kv_heads)) return Status::invalid;
  if (op.in_rows == 0) return Status::ok;
  const AnyArgs args{op.in,
                     op.out_bf16(),
                     op.in_cols,
                     tile ? PagedKeys{} : paged_keys(op),
                     op.batch->one_row_each ? nullptr : op.batch->row_sequence,
                     tile ? c.rows_each : 0,
                     c.heads,
                     c.kv_heads,
                     c.head_dim,
                     attention_scale(c.head_dim)};
  const Launch at{dim3(static_cast<uint32_t>(op.in_rows), (static_cast<uint32_t>(c.heads) + kWarps - 1) / kWarps),
                  dim3(kWarps * 32), 0, op.stream, kDependent};
  if (c.head_dim <= 256) return launch(attention_any_kernel<1>, at, args);
  if (c.head_dim <= 1024) return launch(attention_any_kernel<4>, at, args);
  return launch(attention_any_kernel<16>, at, args);
}

}  // namespace nvlm::gpu
