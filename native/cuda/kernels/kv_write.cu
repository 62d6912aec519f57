// kv_write (ops/ops.h): in [rows, 2 * kv_heads * head_dim], k then v, to the cross pages of c.layer at batch.kv_slot;
// no rope.
//
// grid: rows | block: 128 threads, 16 bytes each at a time | shared: none | bound by memory
#include "cuda/launchers.h"
#include "cuda/ptx/sm90.h"
#include "cuda/reduce.cuh"

namespace nvlm::gpu {
namespace {

constexpr uint32_t kThreads = 128;

struct KvWriteArgs {
  const bf16* in;
  const int64_t* kv_slot;  // [rows]: page * 64 + place
  bf16 *keys, *values;     // [pages][kv_heads][64][head_dim]
  int32_t kv_heads, head_dim;
};

__global__ void __launch_bounds__(kThreads) kv_write_kernel(const __grid_constant__ KvWriteArgs a) {
  ptx::let_next_launch_begin();
  ptx::wait_for_earlier_launches();
  const int64_t row = blockIdx.x, slot = a.kv_slot[row];
  const int64_t page = slot / NVLM_PAGE_KEYS * a.kv_heads, place = slot % NVLM_PAGE_KEYS;
  const int32_t width = a.kv_heads * a.head_dim;
  const bf16* from = a.in + row * 2 * width;
  for (int32_t i = 8 * static_cast<int32_t>(threadIdx.x); i < width; i += 8 * kThreads) {
    const int64_t to = ((page + i / a.head_dim) * NVLM_PAGE_KEYS + place) * a.head_dim + i % a.head_dim;
    store_eight(a.keys + to, load_eight(from + i));
    store_eight(a.values + to, load_eight(from + width + i));
  }
}

}  // namespace

Status enqueue_kv_write(const Op& op) {
  const nvlm_constants& c = op.c();
  if (c.head_dim % 8 || op.in_cols != int64_t{2} * c.kv_heads * c.head_dim) return Status::invalid;
  if (op.in_rows == 0) return Status::ok;
  const KvWriteArgs args{op.in,      op.batch->kv_slot, op.cross_kv.keys(c.layer), op.cross_kv.values(c.layer),
                         c.kv_heads, c.head_dim};
  return launch(kv_write_kernel, {dim3(static_cast<uint32_t>(op.in_rows)), dim3(kThreads), 0, op.stream, kDependent},
                args);
}

}  // namespace nvlm::gpu
