// rms_norm or layer_norm, the product with [q|k|v] + bias and rope_kv_write (ops/ops.h) in one launch, 1 to 4 rows:
// what begins a layer of a decode step.
//
// A pair of rope (columns i and i + head_dim / 2 of a head) is two weight rows of one warp; values take the same pairs
// and stay as they are. Everything is rounded to bf16 where the three launches would round: after the norm, the product
// and the rotation. How: gemv.cuh.
// grid, block, bound: as gemv.cu | shared: up to 67 KB (rows * k * 2 bytes and scratch)
#include <cmath>

#include "cuda/kernels/gemv.cuh"
#include "cuda/kernels/rotation.cuh"
#include "cuda/launchers.h"
#include "cuda/ptx/sm90.h"

namespace nvlm::gpu {
namespace {

constexpr int32_t kMaxPairs = 64;  // of a head: up to here rope_kv_write's frequencies are exactly these

template <int rows>
struct RopeWrite {
  static constexpr int kColumns = gemv::Shape<rows>::columns, kPairs = kColumns / 2;
  const float* bias;        // [n]; null: none
  const int32_t* position;  // [rows]
  const int64_t* kv_slot;   // [rows]: page * 64 + place
  bf16* out;                // [rows, n], n = (heads + 2 * kv_heads) * head_dim
  bf16 *keys, *values;      // [pages][kv_heads][64][head_dim]
  int32_t heads, kv_heads, half;
  double frequency[kMaxPairs];

  // Half a head is a multiple of 4: a group lies within one head.
  __device__ __forceinline__ int row(int group, int column) const {
    const int pair = group * kPairs + column / 2;
    return pair / half * (2 * half) + pair % half + column % 2 * half;
  }

  __device__ __forceinline__ void finish(float value, int group, int lane) const {
    const int r = lane / kColumns, column = lane % kColumns, pair = group * kPairs + column / 2, head = pair / half,
              i = pair % half;
    const bool mine = lane < gemv::Shape<rows>::values;

    // The product, as bf16.
    const int64_t n = static_cast<int64_t>(heads + 2 * kv_heads) * (2 * half);
    const int at = row(group, column);
    if (mine && bias) value += bias[at];
    value = to_float(to_bf16(value));

    // The rotation: the even lane has the lower half's element, the odd one its partner.
    const float other = __shfl_xor_sync(kFullWarp, value, 1);
    if (!mine) return;
    if (head < heads + kv_heads) {
      const Rotation by = rotation(static_cast<float>(position[r] * frequency[i]));
      value = column % 2 ? value * by.cosine + other * by.sine : value * by.cosine - other * by.sine;
    }
    const bf16 result = to_bf16(value);
    out[r * n + at] = result;

    // Keys and values to their page.
    if (head < heads) return;
    const bool is_value = head >= heads + kv_heads;
    const int64_t slot = kv_slot[r], kv_head = head - heads - (is_value ? kv_heads : 0);
    const int64_t place = (slot / NVLM_PAGE_KEYS * kv_heads + kv_head) * NVLM_PAGE_KEYS + slot % NVLM_PAGE_KEYS;
    (is_value ? values : keys)[place * (2 * half) + i + column % 2 * half] = result;
  }
};

template <int rows>
struct Args {
  gemv::Work work;
  RopeWrite<rows> write;
};

template <int rows>
__global__ void __launch_bounds__(gemv::kThreads, gemv::Shape<rows>::blocks)
    norm_qkv_rope_write_kernel(const __grid_constant__ Args<rows> a) {
  gemv::run<rows, true>(a.work, a.write);
}

template <int rows>
Status enqueue(const Op& norm, const Op& qkv, const Op& rope) {
  const nvlm_constants& c = rope.c();
  const int64_t groups = qkv.w->rows / gemv::Shape<rows>::columns, chunks = qkv.in_cols / gemv::kChunk;
  const gemv::LaunchShape p = gemv::launch_shape<rows>(*qkv.device, groups, chunks, true);
  Args<rows> args{gemv::work_of(qkv, norm.in, groups, p, gemv::norm_of(norm)),
                  {qkv.bias ? qkv.bias->vector() : nullptr,
                   rope.batch->position,
                   rope.batch->kv_slot,
                   qkv.out_bf16(),
                   rope.self_kv.keys(c.layer),
                   rope.self_kv.values(c.layer),
                   c.heads,
                   c.kv_heads,
                   c.head_dim / 2,
                   {}}};
  for (int32_t i = 0; i < c.head_dim / 2; ++i)
    args.write.frequency[i] = std::pow(static_cast<double>(c.rope_theta), -2.0 * i / c.head_dim);
  if (const Status s = allow_shared(norm_qkv_rope_write_kernel<rows>, p.shared); s != Status::ok) return s;
  return launch(norm_qkv_rope_write_kernel<rows>,
                Launch{dim3(p.grid), dim3(gemv::kThreads), p.shared, qkv.stream, kDependent}, args);
}

}  // namespace

bool can_norm_qkv_rope_write(const Op& norm, const Op& qkv, const Op& rope) {
  const nvlm_constants& c = rope.c();
  const int64_t n = (int64_t{c.heads} + 2 * int64_t{c.kv_heads}) * c.head_dim;
  return qkv.record->op == NVLM_LINEAR && rope.record->op == NVLM_ROPE_KV_WRITE &&
         rope.record->out == qkv.record->out && gemv::can_fuse_norm(norm, qkv) && gemv::fits(qkv) && qkv.w->rows == n &&
         qkv.out_cols == n && c.head_dim % 8 == 0 && c.head_dim / 2 <= kMaxPairs && rope.self_kv.memory;
}

Status enqueue_norm_qkv_rope_write(const Op& norm, const Op& qkv, const Op& rope) {
  if (!can_norm_qkv_rope_write(norm, qkv, rope)) return Status::invalid;
  switch (qkv.in_rows) {
    case 1: return enqueue<1>(norm, qkv, rope);
    case 2: return enqueue<2>(norm, qkv, rope);
    case 3: return enqueue<3>(norm, qkv, rope);
    default: return enqueue<4>(norm, qkv, rope);
  }
}

}  // namespace nvlm::gpu
