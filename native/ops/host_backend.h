// What every backend in host memory shares: allocation, weights, the checks of programs and batches, and the loop over
// records. A backend is then a table of kernels, one an op, and a way to pack weights. Used by ops/reference and cpu/.
#pragma once

#include <cstdint>
#include <functional>

#include "ops/ops.h"
#include "ops/packed_weight.h"

namespace nvlm::host {

// body(i, thread) for i in [0, count), on the threads of the device; thread < min(threads, count), and a number is one
// thread's for the whole call.
using ParallelFor = void (*)(void* pool, int64_t count, const std::function<void(int64_t, int)>& body);

// One record with its operands looked up and checked: all that a kernel sees.
struct Op {
  const nvlm_record* record;
  const nvlm_batch* batch;
  const float* in;  // [in_rows, in_cols]
  float* out;       // [out_rows, out_cols]
  int64_t in_rows, in_cols, out_rows, out_cols;
  const nvlm_weight *w, *bias, *scale, *extra;  // nullptr: none
  const nvlm_kv_cache *self_kv, *cross_kv;
  void* scratch;  // as many bytes as Kernel::scratch asked for, 64-byte aligned, contents undefined
  ParallelFor parallel_for;
  void* pool;
  int threads;

  const nvlm_constants& c() const { return record->c; }
  // By reference: a std::function that held the body would take memory, which nothing may while a plan runs.
  template <typename Body>
  void parallel(int64_t count, const Body& body) const {
    parallel_for(pool, count, std::cref(body));
  }
};

struct Kernel {
  void (*run)(const Op&);
  // Bytes of scratch for the largest batch of a plan: op has its record, sizes and threads, and no operands. nullptr:
  // none.
  uint64_t (*scratch)(const Op&) = nullptr;
};

// One instruction set.
struct Kernels {
  const char* name;
  Kernel kernel[NVLM_OP_COUNT];
  // A matrix or table of this source: bytes of its packed copy, and the packing itself. weight.data holds that many
  // bytes, zeroed.
  uint64_t (*packed_bytes)(const nvlm_weight_source& source);
  void (*pack)(const nvlm_weight_source& source, nvlm_weight& weight);
};

// The functions of a backend table. A device is opened with its kernels and pool.
nvlm_status open_device(const Kernels& kernels, const char* backend_name, int threads, ParallelFor parallel_for,
                        void* pool, void (*release_pool)(void*), nvlm_device** device);
void set_open_error(const char* message);  // what last_error(NULL) answers on this thread
// Everything but name and open filled in.
nvlm_backend backend_table();

}  // namespace nvlm::host
