// attention: which kernel takes which shape.
#include "cuda/kernels/attention_choice.cuh"

namespace nvlm::gpu {
namespace {

bool has_fast_kernel(int32_t head_dim) { return head_dim == 64 || head_dim == 80 || head_dim == 96 || head_dim == 128; }

}  // namespace

Status enqueue_attention(const Op& op) {
  const nvlm_constants& c = op.c();
  if (c.heads <= 0 || c.kv_heads <= 0 || c.heads % c.kv_heads || c.head_dim <= 0 || c.head_dim % 8)
    return Status::invalid;
  if (op.in_rows == 0) return Status::ok;
  if (!has_fast_kernel(c.head_dim)) return enqueue_attention_any(op);
  if (c.source == NVLM_KEYS_TILE) return enqueue_attention_tile(op);
  if (op.batch->one_row_each) return enqueue_attention_decode(op);
  // A tile holds at least one row, whose pairs must fit.
  return c.heads / c.kv_heads <= kTilePairs ? enqueue_attention_prefill(op) : enqueue_attention_any(op);
}

// For blocks that split their pages: blocks times shares are at most as many as multiprocessors, and a block has at
// most 64 rows.
WorkspaceNeed attention_workspace(const DeviceInfo& device, int64_t, int32_t, int32_t, int32_t head_dim) {
  return {int64_t{device.multiprocessors} * kTilePairs * (head_dim + 2), device.multiprocessors};
}

}  // namespace nvlm::gpu
