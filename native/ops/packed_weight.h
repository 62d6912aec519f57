// A weight as backends keep it, and how one reads the stored tensors that it is packed from.
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

namespace nvlm::host {

// NVLM_OK, or what is wrong with the source, in words that last as long as the program.
nvlm_status check_source(const nvlm_weight_source& source, const char** wrong);

// Element i of a stored part as float32.
float stored_value(const void* data, nvlm_dtype dtype, int64_t i);
// Row r of a source's stacked or interleaved rows: which part, and which row of it.
struct SourceRow {
  int32_t part;
  int64_t row;
};
SourceRow source_row(const nvlm_weight_source& source, int64_t r);
int64_t source_rows(const nvlm_weight_source& source);

}  // namespace nvlm::host
