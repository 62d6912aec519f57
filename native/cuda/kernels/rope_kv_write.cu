// rope_kv_write (ops/ops.h): in place on out [rows, (heads + 2 * kv_heads) * head_dim]: rotate-half on q and k; k and v
// go to the self pages of c.layer.
//
// Angles as the reference has them: position times theta^(-2i/d) in double, rounded to float32. The inverse frequencies
// come with the launch (double powers are slow on most GPUs) as two tables, exact up to 64 pairs a head; sine and
// cosine are computed once a row and block and shared by its heads.
// grid: rows x groups of 8 heads | block: 128 threads | shared: 4 * head_dim bytes | bound by memory, for one row by
// latency
// Rejected: sincosf, whose path for large angles takes local memory.
#include <cmath>

#include "cuda/kernels/rotation.cuh"
#include "cuda/launchers.h"
#include "cuda/ptx/sm90.h"
#include "cuda/reduce.cuh"

namespace nvlm::gpu {
namespace {

constexpr uint32_t kThreads = 128;
constexpr int32_t kHeadsPerBlock = 8;
constexpr int32_t kTable = 64;
constexpr int32_t kMaxPairs = kTable * kTable;  // of a head

struct RopeArgs {
  bf16* qkv;
  const int32_t* position;  // [rows]
  const int64_t* kv_slot;   // [rows]: page * 64 + place
  bf16 *keys, *values;      // [pages][kv_heads][64][head_dim]
  int32_t heads, kv_heads, head_dim;
  double coarse[kTable], fine[kTable];  // theta^(-2i/d) = coarse[i / 64] * fine[i % 64]
};

// `pieces` words of two elements: 4 when half a head is a multiple of 8 elements, else 2.
template <int pieces>
struct Words {
  uint32_t word[pieces];
};
template <int pieces>
__device__ __forceinline__ Words<pieces> load_words(const bf16* from) {
  Words<pieces> w;
  if constexpr (pieces == 4) {
    const uint4 v = *reinterpret_cast<const uint4*>(from);
    w.word[0] = v.x, w.word[1] = v.y, w.word[2] = v.z, w.word[3] = v.w;
  } else {
    const uint2 v = *reinterpret_cast<const uint2*>(from);
    w.word[0] = v.x, w.word[1] = v.y;
  }
  return w;
}
template <int pieces>
__device__ __forceinline__ void store_words(bf16* to, const Words<pieces>& w) {
  if constexpr (pieces == 4) {
    *reinterpret_cast<uint4*>(to) = make_uint4(w.word[0], w.word[1], w.word[2], w.word[3]);
  } else {
    *reinterpret_cast<uint2*>(to) = make_uint2(w.word[0], w.word[1]);
  }
}

template <int pieces>
__global__ void __launch_bounds__(kThreads) rope_kv_write_kernel(const __grid_constant__ RopeArgs a) {
  constexpr int32_t kWidth = 2 * pieces;
  const int32_t half = a.head_dim / 2;
  SharedMemory shared;
  float2* by = shared.take<float2>(static_cast<uint32_t>(half));  // cosine, sine

  // Sines and cosines of the row, while earlier launches may still run: its position was there before the first of
  // them. Those of the first column of each item, then of the second, …, so that lanes with neighbouring items meet no
  // bank conflict.
  ptx::let_next_launch_begin();
  const int64_t row = blockIdx.x;
  const int32_t position = a.position[row], per_head = half / kWidth;
  for (int32_t at = static_cast<int32_t>(threadIdx.x); at < half; at += kThreads) {
    const int32_t i = at % per_head * kWidth + at / per_head;
    const Rotation r = rotation(static_cast<float>(position * (a.coarse[i / kTable] * a.fine[i % kTable])));
    by[at] = make_float2(r.cosine, r.sine);
  }
  ptx::wait_for_earlier_launches();
  __syncthreads();  // they are there

  // One item: the same few columns of both halves of one head.
  const int64_t slot = a.kv_slot[row];
  const int64_t page = slot / NVLM_PAGE_KEYS * a.kv_heads, place = slot % NVLM_PAGE_KEYS;
  const int32_t all = a.heads + 2 * a.kv_heads, first = static_cast<int32_t>(blockIdx.y) * kHeadsPerBlock;
  const int32_t heads = all - first < kHeadsPerBlock ? all - first : kHeadsPerBlock;
  for (int32_t item = static_cast<int32_t>(threadIdx.x); item < heads * per_head; item += kThreads) {
    const int32_t head = first + item / per_head, column = item % per_head * kWidth;
    bf16* at = a.qkv + (row * all + head) * a.head_dim + column;
    Words<pieces> lower = load_words<pieces>(at), upper = load_words<pieces>(at + half);
    if (head < a.heads + a.kv_heads) {
#pragma unroll
      for (int i = 0; i < pieces; ++i) {
        const float2 p = by[2 * i * per_head + item % per_head], q = by[(2 * i + 1) * per_head + item % per_head];
        const float x0 = low(lower.word[i]), x1 = high(lower.word[i]), y0 = low(upper.word[i]),
                    y1 = high(upper.word[i]);
        lower.word[i] = ptx::round_pair(x0 * p.x - y0 * p.y, x1 * q.x - y1 * q.y);
        upper.word[i] = ptx::round_pair(y0 * p.x + x0 * p.y, y1 * q.x + x1 * q.y);
      }
      store_words<pieces>(at, lower);
      store_words<pieces>(at + half, upper);
    }
    if (head < a.heads) continue;
    const bool is_value = head >= a.heads + a.kv_heads;
    const int32_t kv_head = head - a.heads - (is_value ? a.kv_heads : 0);
    bf16* to = (is_value ? a.values : a.keys) + ((page + kv_head) * NVLM_PAGE_KEYS + place) * a.head_dim + column;
    store_words<pieces>(to, lower);
    store_words<pieces>(to + half, upper);
  }
}

}  // namespace

Status enqueue_rope_kv_write(const Op& op) {
  const nvlm_constants& c = op.c();
  const int32_t all = c.heads + 2 * c.kv_heads, half = c.head_dim / 2;
  if (c.head_dim % 8 || half > kMaxPairs || op.out_cols != int64_t{all} * c.head_dim) return Status::invalid;
  if (op.out_rows == 0) return Status::ok;
  RopeArgs args{op.out_bf16(),
                op.batch->position,
                op.batch->kv_slot,
                op.self_kv.keys(c.layer),
                op.self_kv.values(c.layer),
                c.heads,
                c.kv_heads,
                c.head_dim,
                {},
                {}};
  for (int32_t i = 0; i < kTable; ++i) {
    args.coarse[i] = std::pow(static_cast<double>(c.rope_theta), -2.0 * i * kTable / c.head_dim);
    args.fine[i] = std::pow(static_cast<double>(c.rope_theta), -2.0 * i / c.head_dim);
  }
  const Launch at{
      dim3(static_cast<uint32_t>(op.out_rows), static_cast<uint32_t>((all + kHeadsPerBlock - 1) / kHeadsPerBlock)),
      dim3(kThreads), static_cast<uint32_t>(half * sizeof(float2)), op.stream, kDependent};
  return half % 8 == 0 ? launch(rope_kv_write_kernel<4>, at, args) : launch(rope_kv_write_kernel<2>, at, args);
}

}  // namespace nvlm::gpu
