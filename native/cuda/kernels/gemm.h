// A product as its kernels get it, and the ways to launch one.
#pragma once

#include "cuda/epilogue.cuh"
#include "cuda/gemm_plan.h"
#include "cuda/op.h"

namespace nvlm::gpu {

// [rows, columns] = a [rows, depth] · bᵀ, b [columns, depth]; pitches in elements. Depth and pitches are multiples of
// 8, a and b aligned to 16 bytes.
struct Product {
  const bf16* a;
  const bf16* b;
  int64_t a_pitch, b_pitch;
  int32_t rows, columns, depth;
  int32_t splits;
  float* partials;     // [row tiles * column tiles][splits][m][n], when splits > 1
  uint32_t* counters;  // [row tiles * column tiles]
  Epilogue epilogue;
};

// One per tile: kernels/gemm_sm80_*.cu.
Status launch_sm80_128x256(const Product& product, Stream stream);
Status launch_sm80_128x128(const Product& product, Stream stream);
Status launch_sm80_64x128(const Product& product, Stream stream);
Status launch_sm80_64x64(const Product& product, Stream stream);
Status launch_sm80_32x64(const Product& product, Stream stream);
Status launch_sm80_16x64(const Product& product, Stream stream);

GemmDevice gemm_device(const DeviceInfo& device, const Workspace& workspace);
// As chosen; `splits`, `partials` and `counters` of the product are set here.
Status enqueue_product(Product product, const GemmChoice& choice, const Workspace& workspace, Stream stream);
// Chooses, with the weights' format and the op.
Status enqueue_product(const Product& product, nvlm_op op, WeightFormat format, const DeviceInfo& device,
                       const Workspace& workspace, Stream stream);

// enqueue_gemm with the choice made, for tests and timing.
Status enqueue_gemm_as(const Op& op, const GemmChoice& choice);

}  // namespace nvlm::gpu
