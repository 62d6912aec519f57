// embed (ops/ops.h): out [rows, n] = the image-token row batch.source[row], or row batch.token[row] of w [vocab,
// pitch].
//
// grid: rows | block: 128 threads, 16 bytes each at a time | shared: none | bound by memory
#include "cuda/launchers.h"
#include "cuda/ptx/sm90.h"
#include "cuda/reduce.cuh"

namespace nvlm::gpu {
namespace {

constexpr uint32_t kThreads = 128;

struct EmbedArgs {
  const bf16* table;          // [vocab, pitch]
  const bf16* const* source;  // [rows], or null: all rows are tokens
  const int32_t* token;       // [rows]
  bf16* out;                  // [rows, cols]
  int64_t cols, pitch;
};

__global__ void __launch_bounds__(kThreads) embed_kernel(const __grid_constant__ EmbedArgs a) {
  ptx::let_next_launch_begin();  // this is short: the next launch can have its first weights by then
  const int64_t row = blockIdx.x;
  const bf16* from = a.source ? a.source[row] : nullptr;
  if (!from) from = a.table + a.token[row] * a.pitch;
  bf16* to = a.out + row * a.cols;
  for (int64_t i = 8 * threadIdx.x; i < a.cols; i += 8 * kThreads) store_eight(to + i, load_eight(from + i));
}

}  // namespace

Status enqueue_embed(const Op& op) {
  if (op.out_cols % 8) return Status::invalid;
  if (op.out_rows == 0) return Status::ok;
  const EmbedArgs args{op.w->matrix(), op.batch->source, op.batch->token, op.out_bf16(), op.out_cols, op.w->pitch};
  // Not dependent: it begins a step, behind the copy of the batch.
  return launch(embed_kernel, {dim3(static_cast<uint32_t>(op.out_rows)), dim3(kThreads), 0, op.stream}, args);
}

}  // namespace nvlm::gpu
