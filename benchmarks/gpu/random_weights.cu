// Random weights (random_weights.h) in the layouts of native/cuda/weights.cc.
//
// grid: rows, at most 65536, each block takes every such one | block: 256 threads, an element each at a time | shared:
// none | bound by arithmetic: some 30 integer instructions an element, 20 ms for the 7.6 G of a 7B model
#include "random_weights.h"

namespace nvlm::random {
namespace {

constexpr uint32_t kThreads = 256;
constexpr int64_t kMostBlocks = 65536;

__global__ void __launch_bounds__(kThreads) random_weights_kernel(const __grid_constant__ Filled a) {
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    const int64_t at = row * a.row_step * a.pitch;
    for (int64_t c = threadIdx.x; c < a.pitch; c += kThreads) {
      const gpu::bf16 value = c < a.cols ? random_value(a.values, row, c) : gpu::bf16{0};
      if (a.floats) {
        static_cast<float*>(a.data)[at + c] = gpu::to_float(value);
      } else {
        static_cast<gpu::bf16*>(a.data)[at + c] = value;
      }
    }
  }
}

}  // namespace

gpu::Status enqueue_random_weights(const Filled& part, gpu::Stream stream) {
  const int64_t blocks = part.rows < kMostBlocks ? part.rows : kMostBlocks;
  return gpu::launch(random_weights_kernel, {dim3(static_cast<uint32_t>(blocks)), dim3(kThreads), 0, stream}, part);
}

}  // namespace nvlm::random
