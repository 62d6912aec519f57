// The inner product behind patch_embed, which makes its input rows as it goes.
#pragma once

#include "cpu/set/kernels.h"

namespace nvlm::cpu::NVLM_CPU_SET {

// x: `rows` ≤ 6 rows of w.cols floats; out [rows, 16] = x · panel `panel` of w (columns 16·panel …; those behind the last row of w are zero).
void multiply_row_block(const float* const* x, int rows, const nvlm_weight& w, int64_t panel, float* out);

}  // namespace nvlm::cpu::NVLM_CPU_SET
