// One record with its operands looked up and checked: all that a kernel in host memory sees.
#pragma once

#include <cstdint>

#include "host/threads.h"
#include "ops/ops.h"
#include "ops/packed_weight.h"

namespace nvlm::host {

struct Op {
  const nvlm_record* record;
  const nvlm_batch* batch;
  const float* in;  // [in_rows, in_cols]
  float* out;       // [out_rows, out_cols]
  int64_t in_rows, in_cols, out_rows, out_cols;
  const nvlm_weight *w, *bias, *scale, *q_norm, *k_norm, *class_token, *positions;  // nullptr: none
  const nvlm_kv_cache *self_kv, *cross_kv;
  void* scratch;  // as many bytes as Kernel::scratch asked for, 64-byte aligned, contents undefined
  Threads threads;

  const nvlm_constants& c() const { return record->c; }
  template <typename Body>
  void parallel(int64_t n, const Body& body) const {
    threads.parallel(n, body);
  }
};

}  // namespace nvlm::host
