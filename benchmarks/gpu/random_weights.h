// Weights that nobody stores: each is a hash of where it would stand in the checkpoint's file, made in the place where
// it is needed. random_model.py writes the file (a header and a hole), random_weights.py is the same function in
// PyTorch.
#pragma once

#include "cuda/bf16.h"
#include "ops/ops.h"

namespace nvlm::random {

// One part of a weight: element (r, c) is the one of number first + r * row_stride + c in the data section.
struct Values {
  uint64_t first;
  int64_t row_stride;
  // Of a tensor: each value is mean + size * u, u evenly from [-1, 1). One of them is 0 or size a power of two: see
  // random_value.
  float mean, size;
};

// The value as bf16. It is the same number wherever it is computed, since nothing before the last step rounds twice: u
// has 24 bits, size * u is rounded once and either exact or added to 0.
__host__ __device__ inline gpu::bf16 random_value(const Values& v, int64_t row, int64_t column) {
  uint64_t z = (v.first + static_cast<uint64_t>(row * v.row_stride + column) + 1) * 0x9e3779b97f4a7c15u;  // SplitMix64
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  z ^= z >> 31;
  const float u = static_cast<float>(z >> 40) * 0x1p-23f - 1;
  return gpu::to_bf16(v.mean + v.size * u);
}

// What the header of the mapped file that `part` points into says of it. Throws std::runtime_error when it is no part
// of such a file.
Values values_of(const void* part, int64_t row_stride);

// Where a part goes: rows of `pitch` bf16, every `row_step`-th from the first one, the padding behind each zero; or, of
// a vector, `cols` floats.
struct Filled {
  Values values;
  void* data;
  int64_t rows, cols, pitch, row_step;
  bool floats;
};
gpu::Status enqueue_random_weights(const Filled& part, gpu::Stream stream);

}  // namespace nvlm::random

// The CUDA backend with upload_weight replaced: nothing is sent, the weights are made on the device.
extern "C" const nvlm_backend* nvlm_random_backend(void);
