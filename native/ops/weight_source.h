// How a backend reads the stored tensors that a weight is packed from.
#pragma once

#include <cstdint>

#include "ops/ops.h"

namespace nvlm {

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
// Elements of a vector, all parts.
int64_t vector_length(const nvlm_weight_source& source);

}  // namespace nvlm
