// One row normalised by one block, the row held in registers between the sums: what norm.cu, qk_norm.cu and
// pixel_shuffle_norm.cu share.
//
// A thread has `chunks` pieces of eight neighbours: chunk threadIdx.x + i * blockDim.x. `at(chunk)` is the address of a
// piece of the source row, so that a row may be gathered from several places; `out` may be the source itself.
#pragma once

#include "cuda/reduce.cuh"

namespace nvlm::gpu {

constexpr uint32_t kNormScratch = 2 * 32;  // floats of shared memory

// The pieces of a row that lies together.
struct DenseRow {
  const bf16* row;
  __device__ const bf16* operator()(int32_t chunk) const { return row + 8 * chunk; }
};

template <int chunks, typename At>
__device__ __forceinline__ void load_row(uint4 (&row)[chunks], int32_t count, const At& at) {
#pragma unroll
  for (int i = 0; i < chunks; ++i) {
    const int32_t chunk = static_cast<int32_t>(threadIdx.x + i * blockDim.x);
    row[i] = chunk < count ? load_eight(at(chunk)) : make_uint4(0, 0, 0, 0);
  }
}

// out = in / sqrt(sum of squares / divisor + eps) * w.
template <int chunks, typename At>
__device__ __forceinline__ void rms_norm_row(bf16* out, int32_t count, const At& at, const float* w, float divisor,
                                             float eps, float* scratch) {
  uint4 row[chunks];
  load_row<chunks>(row, count, at);

  float squares = 0;
#pragma unroll
  for (int i = 0; i < chunks; ++i) {
    const Eight x = widen(row[i]);  // zeros behind the row's end
#pragma unroll
    for (int j = 0; j < 8; ++j) squares = fmaf(x.value[j], x.value[j], squares);
  }
  const float scale = 1.0f / sqrtf(block_sum(squares, scratch) / divisor + eps);

#pragma unroll
  for (int i = 0; i < chunks; ++i) {
    const int32_t chunk = static_cast<int32_t>(threadIdx.x + i * blockDim.x);
    if (chunk >= count) continue;
    Eight x = widen(row[i]);
    const Eight weight = load_eight(w + 8 * chunk);
#pragma unroll
    for (int j = 0; j < 8; ++j) x.value[j] = x.value[j] * scale * weight.value[j];
    store_eight(out + 8 * chunk, narrow(x));
  }
}

// out = (in − mean) / sqrt(variance + eps) * w + bias; the variance from the differences, since a difference of squares
// would cancel.
template <int chunks, typename At>
__device__ __forceinline__ void layer_norm_row(bf16* out, int32_t count, const At& at, const float* w,
                                               const float* bias, float eps, float* scratch) {
  uint4 row[chunks];
  load_row<chunks>(row, count, at);

  const float n = static_cast<float>(8 * count);
  float sum = 0;
#pragma unroll
  for (int i = 0; i < chunks; ++i) {
    const Eight x = widen(row[i]);
#pragma unroll
    for (int j = 0; j < 8; ++j) sum += x.value[j];
  }
  const float mean = block_sum(sum, scratch) / n;

  float squares = 0;
#pragma unroll
  for (int i = 0; i < chunks; ++i) {
    const Eight x = widen(row[i]);
    if (static_cast<int32_t>(threadIdx.x + i * blockDim.x) >= count) continue;
#pragma unroll
    for (int j = 0; j < 8; ++j) squares = fmaf(x.value[j] - mean, x.value[j] - mean, squares);
  }
  const float scale = 1.0f / sqrtf(block_sum(squares, scratch + 32) / n + eps);

#pragma unroll
  for (int i = 0; i < chunks; ++i) {
    const int32_t chunk = static_cast<int32_t>(threadIdx.x + i * blockDim.x);
    if (chunk >= count) continue;
    Eight x = widen(row[i]);
    const Eight weight = load_eight(w + 8 * chunk), shift = load_eight(bias + 8 * chunk);
#pragma unroll
    for (int j = 0; j < 8; ++j) x.value[j] = fmaf((x.value[j] - mean) * scale, weight.value[j], shift.value[j]);
    store_eight(out + 8 * chunk, narrow(x));
  }
}

// ---- Launching ----

// Threads of a block and pieces of each: as few pieces as 512 threads allow, more threads beyond 8 pieces. Up to 65,536
// columns.
struct NormShape {
  int chunks;
  uint32_t threads;
};
inline NormShape norm_shape(int64_t cols) {
  const int64_t pieces = cols / 8;
  int chunks = 1;
  while (chunks < 8 && pieces > int64_t{512} * chunks) chunks *= 2;
  return {chunks, static_cast<uint32_t>((pieces + chunks * 32 - 1) / (chunks * 32) * 32)};
}

// `kernel<chunks>::get()` for the row's width; grid.x counts rows. Kernels wait for earlier launches.
template <template <int> typename Kernel, typename Args>
Status launch_norm(int64_t cols, dim3 grid, Stream stream, const Args& args) {
  if (cols % 8 || cols <= 0 || cols > 65536) return Status::invalid;
  if (grid.x == 0) return Status::ok;
  const NormShape shape = norm_shape(cols);
  const Launch at{grid, dim3(shape.threads), kNormScratch * sizeof(float), stream, kDependent};
  switch (shape.chunks) {
    case 1: return launch(Kernel<1>::get(), at, args);
    case 2: return launch(Kernel<2>::get(), at, args);
    case 4: return launch(Kernel<4>::get(), at, args);
    default: return launch(Kernel<8>::get(), at, args);
  }
}

}  // namespace nvlm::gpu
