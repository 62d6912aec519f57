// What makes a backend in host memory: a kernel for each op, and a way to pack weights.
#pragma once

#include <cstdint>

#include "host/op.h"
#include "ops/op_table.h"
#include "ops/ops.h"

namespace nvlm::host {

struct Kernel {
  void (*run)(const Op&);
  // Bytes of scratch for the largest batch of a plan: op has its record, sizes and threads, and no operands. nullptr:
  // none.
  uint64_t (*scratch)(const Op&) = nullptr;
};

// One instruction set.
struct Kernels {
  const char* name;
  OpTable<Kernel> kernel;
  // A matrix or table of this source: bytes of its packed copy, and the packing itself. weight.data holds that many
  // bytes, zeroed.
  uint64_t (*packed_bytes)(const nvlm_weight_source& source);
  void (*pack)(const nvlm_weight_source& source, nvlm_weight& weight);
};

}  // namespace nvlm::host
