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
  // Bytes of the packed copy of a weight, and the packing itself, on the device's threads: weight.data holds that many
  // bytes, zeroed, and the rest of it is filled in; a matrix or table may get another dtype.
  uint64_t (*packed_bytes)(const nvlm_weight_source& source);
  void (*pack)(const nvlm_weight_source& source, nvlm_weight& weight, const Threads& threads);
};

}  // namespace nvlm::host
