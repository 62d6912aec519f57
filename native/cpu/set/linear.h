// The inner product behind patch_embed, which makes its input rows as it goes.
#pragma once

#include "cpu/set/kernels.h"

namespace nvlm::cpu::NVLM_CPU_SET {

// Columns of a panel of packed weights: two vectors, one of gates and one of their ups.
constexpr int kPanel = 2 * kLanes;
// 6 rows × 2 vectors are 12 sums, with 2 weights and 1 broadcast 15 of 16 registers; 12 independent sums cover a
// latency of 4–5 at 2 a cycle.
constexpr int kRows = 6;

// x: `rows` ≤ kRows rows of w.cols floats; out [rows, kPanel] = x · panel `panel` of w (columns kPanel·panel …; those
// behind the last row of w are zero).
void multiply_row_block(const float* const* x, int rows, const nvlm_weight& w, int64_t panel, float* out);

}  // namespace nvlm::cpu::NVLM_CPU_SET
