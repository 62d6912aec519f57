// Gives each tensor of a program its place in the arena: tensors that live at the same time never overlap, others share
// bytes.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/ops.h"

namespace nvlm {

constexpr uint64_t kArenaAlignment = 64;

// Sets tensors[i].offset and returns the arena's size in bytes. A tensor lives from the first to the last record that
// names it; those in `kept` live to the end (they are read after the run), and what a norm reads lives through the
// record behind it, since a backend may make one launch of both. max_count: rows of each extent. Throws
// Error("out-of-memory") when a size overflows 63 bits.
uint64_t plan_arena(std::vector<nvlm_tensor>& tensors, const std::vector<nvlm_record>& records,
                    const int64_t (&max_count)[NVLM_EXTENT_COUNT], const std::vector<int32_t>& kept);

}  // namespace nvlm
