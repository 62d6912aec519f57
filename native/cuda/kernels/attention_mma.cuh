// Attention on 16-row tiles with mma.sync: what the kernels for tiles, prefill and decode share.
//
// In the fragments of a 16-row tile a lane holds rows g = lane / 4 and g + 8, and of each 8 columns the two at 2 (lane
// % 4) (ptx/sm80.h). Tiles in shared memory have a pitch of head_dim + 8 elements, an odd number of 16-byte units for
// 64, 80, 96 and 128, so that ldmatrix meets no bank conflict.
#pragma once

#include "cuda/op.h"
#include "cuda/ptx/common.h"
#include "cuda/reduce.cuh"

namespace nvlm::gpu {

template <int d>
constexpr int kPitch = d + 8;

// −infinity: the score of a key that a row does not see.
__device__ __forceinline__ float no_key() { return __uint_as_float(0xff800000u); }

// An entry of a PageList; loaded a page ahead, since the addresses of its copies depend on it.
struct Page {
  int32_t page, fill, first_key;
};
__device__ __forceinline__ Page page_at(const PageList& list, int32_t i) {
  return {list.page[i], list.fill[i], list.first_key[i]};
}

// [16, 16] of a tile as the left factor.
template <int d>
__device__ __forceinline__ void load_left(uint32_t (&a)[4], const bf16* tile) {
  const uint32_t lane = threadIdx.x % 32;
  ptx::load_matrices(a, tile + lane % 16 * kPitch<d> + lane / 16 * 8);
}

// The queries of `m_tiles` 16-row tiles: kept in registers where there is room for them, else read anew at each step.
template <int d, int m_tiles = 1>
class Query {
 public:
  __device__ __forceinline__ explicit Query(const bf16* tile) : tile_(tile) {
#pragma unroll
    for (int step = 0; step < kHeld; ++step) load(step, held_[step]);
  }
  __device__ __forceinline__ void operator()(int step, uint32_t (&a)[m_tiles][4]) const {
    if constexpr (kHeld > 0) {
#pragma unroll
      for (int m = 0; m < m_tiles; ++m) {
#pragma unroll
        for (int i = 0; i < 4; ++i) a[m][i] = held_[step][m][i];
      }
    } else {
      load(step, a);
    }
  }

 private:
  static constexpr int kHeld = d <= 80 ? d / 16 : 0;
  __device__ __forceinline__ void load(int step, uint32_t (&a)[m_tiles][4]) const {
#pragma unroll
    for (int m = 0; m < m_tiles; ++m) load_left<d>(a[m], tile_ + 16 * m * kPitch<d> + 16 * step);
  }
  const bf16* tile_;
  uint32_t held_[kHeld > 0 ? kHeld : 1][m_tiles][4];
};

// Copies `count` rows of head_dim elements into a tile by `threads` threads, of which this is number `thread`: row i
// from `rows` + i * pitch if seen(i), else zeros (the address is not read then). Offsets within a tile of rows stay
// below 2^31.
template <int d, int count, int threads, typename Seen>
__device__ __forceinline__ void copy_rows(bf16* tile, uint32_t thread, const bf16* rows, uint32_t pitch,
                                          const Seen& seen) {
  constexpr uint32_t kPieces = d / 8;
  static_assert(count * kPieces % threads == 0);
#pragma unroll
  for (uint32_t i = 0; i < count * kPieces / threads; ++i) {
    // Where a row's pieces divide the threads, a thread keeps its piece.
    const bool keeps = threads % kPieces == 0;
    const uint32_t item = thread + i * threads,
                   row = keeps ? thread / kPieces + i * (threads / kPieces) : item / kPieces,
                   piece = keeps ? thread % kPieces : item % kPieces;
    ptx::copy_async(tile + row * kPitch<d> + piece * 8, rows + (row * pitch + piece * 8),
                    seen(static_cast<int32_t>(row)));
  }
}

// s [16 m_tiles, 8 key_tiles] = queries · keysᵀ. `query(step, a)` gives columns 16 * step of the queries;
// `meanwhile(step)` is work that does not depend on these products, for the clocks that a warp has left between them.
template <int d, int m_tiles, int key_tiles, typename Query, typename Meanwhile>
__device__ __forceinline__ void multiply_keys(float (&s)[m_tiles][key_tiles][4], const Query& query, const bf16* keys,
                                              const Meanwhile& meanwhile) {
  const uint32_t lane = threadIdx.x % 32;
  const bf16* row = keys + (lane / 16 * 8 + lane % 8) * kPitch<d> + lane / 8 % 2 * 8;
#pragma unroll
  for (int m = 0; m < m_tiles; ++m) {
#pragma unroll
    for (int n = 0; n < key_tiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) s[m][n][i] = 0;
    }
  }
#pragma unroll
  for (int step = 0; step < d / 16; ++step) {
    uint32_t a[m_tiles][4];
    query(step, a);
#pragma unroll
    for (int pair = 0; pair < key_tiles / 2; ++pair) {
      uint32_t b[4];
      ptx::load_matrices(b, row + 16 * pair * kPitch<d> + 16 * step);
      const uint32_t left[2] = {b[0], b[1]}, right[2] = {b[2], b[3]};
#pragma unroll
      for (int m = 0; m < m_tiles; ++m) {
        ptx::mma(s[m][2 * pair], a[m], left);
        ptx::mma(s[m][2 * pair + 1], a[m], right);
      }
    }
    meanwhile(step);
  }
}
template <int d, int m_tiles, int key_tiles, typename Query>
__device__ __forceinline__ void multiply_keys(float (&s)[m_tiles][key_tiles][4], const Query& query, const bf16* keys) {
  multiply_keys<d>(s, query, keys, [](int) {});
}

// Online softmax of the two rows that a lane shares with its three neighbours: largest score so far, this lane's share
// of the sum.
struct Softmax {
  float most[2] = {no_key(), no_key()}, sum[2] = {0, 0};
};

// Scores become weights, exp2((score − most) * scale); what was summed up before is brought to the new maximum.
template <int d, int key_tiles>
__device__ __forceinline__ void soften(Softmax& state, float (&s)[key_tiles][4], float (&out)[d / 8][4], float scale) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float most = state.most[r];
#pragma unroll
    for (int n = 0; n < key_tiles; ++n) most = fmaxf(most, fmaxf(s[n][2 * r], s[n][2 * r + 1]));
    most = fmaxf(most, __shfl_xor_sync(kFullWarp, most, 1u));
    most = fmaxf(most, __shfl_xor_sync(kFullWarp, most, 2u));
    const float shift = most == no_key() ? 0.0f : most * scale;  // no key yet: all weights 0, not NaN
    const float keep = ptx::exp2_fast(fmaf(state.most[r], scale, -shift));
    state.most[r] = most;
    float sum = 0;
#pragma unroll
    for (int n = 0; n < key_tiles; ++n) {
      s[n][2 * r] = ptx::exp2_fast(fmaf(s[n][2 * r], scale, -shift));
      s[n][2 * r + 1] = ptx::exp2_fast(fmaf(s[n][2 * r + 1], scale, -shift));
      sum += s[n][2 * r] + s[n][2 * r + 1];
    }
    state.sum[r] = fmaf(state.sum[r], keep, sum);
#pragma unroll
    for (int n = 0; n < d / 8; ++n) {
      out[n][2 * r] *= keep;
      out[n][2 * r + 1] *= keep;
    }
  }
}

// out [16 m_tiles, d] += weights [16 m_tiles, 16] · values [16, d].
template <int d, int m_tiles>
__device__ __forceinline__ void multiply_slice(float (&out)[m_tiles][d / 8][4], const uint32_t (&weights)[m_tiles][4],
                                               const bf16* values) {
  const uint32_t lane = threadIdx.x % 32;
  const bf16* row = values + lane % 16 * kPitch<d> + lane / 16 * 8;
#pragma unroll
  for (int pair = 0; pair < d / 16; ++pair) {
    uint32_t b[4];
    ptx::load_matrices_transposed(b, row + 16 * pair);
    const uint32_t left[2] = {b[0], b[1]}, right[2] = {b[2], b[3]};
#pragma unroll
    for (int m = 0; m < m_tiles; ++m) {
      ptx::mma(out[m][2 * pair], weights[m], left);
      ptx::mma(out[m][2 * pair + 1], weights[m], right);
    }
  }
}

// out [16 m_tiles, d] += weights [16 m_tiles, 8 key_tiles] · values, the weights rounded to bf16.
template <int d, int m_tiles, int key_tiles>
__device__ __forceinline__ void multiply_values(float (&out)[m_tiles][d / 8][4],
                                                const float (&p)[m_tiles][key_tiles][4], const bf16* values) {
#pragma unroll
  for (int slice = 0; slice < key_tiles / 2; ++slice) {
    uint32_t a[m_tiles][4];
#pragma unroll
    for (int m = 0; m < m_tiles; ++m) {
      const float(&even)[4] = p[m][2 * slice], (&odd)[4] = p[m][2 * slice + 1];
      a[m][0] = ptx::round_pair(even[0], even[1]);
      a[m][1] = ptx::round_pair(even[2], even[3]);
      a[m][2] = ptx::round_pair(odd[0], odd[1]);
      a[m][3] = ptx::round_pair(odd[2], odd[3]);
    }
    multiply_slice<d>(out, a, values + 16 * slice * kPitch<d>);
  }
}

// The sum over the four lanes of a row.
__device__ __forceinline__ float row_sum(float x) {
  x += __shfl_xor_sync(kFullWarp, x, 1u);
  return x + __shfl_xor_sync(kFullWarp, x, 2u);
}

// 1 / sum; no keys: 0, so that the row is zeros. A NaN stays.
__device__ __forceinline__ float share_of(float sum) { return sum == 0 ? 0.0f : 1.0f / sum; }

// out / sum as bf16 into 16 rows of a tile in shared memory.
template <int d>
__device__ __forceinline__ void put_rows(bf16* tile, const float (&out)[d / 8][4], const float (&sum)[2]) {
  const uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
  for (uint32_t r = 0; r < 2; ++r) {
    const float share = share_of(row_sum(sum[r]));
#pragma unroll
    for (int n = 0; n < d / 8; ++n) {
      *reinterpret_cast<uint32_t*>(tile + (g + 8 * r) * kPitch<d> + 8 * n + 2 * t) =
          ptx::round_pair(out[n][2 * r] * share, out[n][2 * r + 1] * share);
    }
  }
}

// Merging `count` partial results of one row, {largest score, weight}: the factor of each, `weight[i * pitch]`, and the
// total weight; in their order.
template <typename StateAt>
__device__ __forceinline__ float2 weigh(float* weight, int32_t pitch, int32_t count, float scale,
                                        const StateAt& state_at) {
  float most = no_key(), sum = 0;
  for (int32_t i = 0; i < count; ++i) most = fmaxf(most, state_at(i).x);
  for (int32_t i = 0; i < count; ++i) {
    const float2 part = state_at(i);
    const float w = part.x == no_key() ? 0.0f : ptx::exp2_fast((part.x - most) * scale);
    weight[i * pitch] = w;
    sum = fmaf(part.y, w, sum);
  }
  return make_float2(most, sum);
}

// Four columns of the sums of `count` partial results, `stride` floats apart.
__device__ __forceinline__ float4 merge_four(const float* sums, int64_t stride, const float* weight, int32_t pitch,
                                             int32_t count) {
  float4 x = make_float4(0, 0, 0, 0);
#pragma unroll 4
  for (int32_t i = 0; i < count; ++i) {
    const float4 part = *reinterpret_cast<const float4*>(sums + i * stride);
    const float factor = weight[i * pitch];
    x = make_float4(fmaf(part.x, factor, x.x), fmaf(part.y, factor, x.y), fmaf(part.z, factor, x.z),
                    fmaf(part.w, factor, x.w));
  }
  return x;
}

__device__ __forceinline__ void store_four(bf16* to, float4 x, float share) {
  *reinterpret_cast<uint2*>(to) =
      make_uint2(ptx::round_pair(x.x * share, x.y * share), ptx::round_pair(x.z * share, x.w * share));
}

// The last of `shares` blocks to arrive merges what all of them wrote; the counter is zero again then. Called by the
// whole block; `place`: shared memory.
__device__ __forceinline__ bool arrives_last(uint32_t* arrived, int32_t shares, uint32_t* place) {
  __syncthreads();  // this block's partial results are written
  if (threadIdx.x == 0) {
    *place = ptx::add_acquire_release(arrived, 1);
    if (*place == static_cast<uint32_t>(shares) - 1) *arrived = 0;
  }
  __syncthreads();  // place is there, and what the blocks before wrote can be seen
  return *place == static_cast<uint32_t>(shares) - 1;
}

template <int m_tiles, int d>
__device__ __forceinline__ void clear(float (&out)[m_tiles][d][4]) {
#pragma unroll
  for (int m = 0; m < m_tiles; ++m) {
#pragma unroll
    for (int n = 0; n < d; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) out[m][n][i] = 0;
    }
  }
}

}  // namespace nvlm::gpu
