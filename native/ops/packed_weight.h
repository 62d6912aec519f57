// A weight as backends keep it: what the checks of a program look at, and where its bytes are.
#pragma once

#include <cstdint>

#include "ops/ops.h"

struct nvlm_weight {
  nvlm_weight_use use;
  bool interleaved;    // rows 2i and 2i + 1 are a gate and its up row
  int64_t rows, cols;  // as stored, all parts; a vector: rows 1
  nvlm_dtype dtype;    // of `data`; vectors are float32
  void* data;          // packed as the kernels like it
  uint64_t bytes;
  const float* floats() const { return static_cast<const float*>(data); }
};
