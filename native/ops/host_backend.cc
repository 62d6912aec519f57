#include "ops/host_backend.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "ops/cancel.h"
#include "ops/check_program.h"
#include "ops/program_copy.h"
#include "platform/memory.h"

using nvlm::host::Kernels;
using nvlm::host::Op;

struct nvlm_device {
  const Kernels* kernels;
  const char* backend_name;
  int threads;
  nvlm::host::ParallelFor parallel_for;
  void* pool;
  void (*release_pool)(void*);
  uint64_t used = 0;
  std::string error;
};

struct nvlm_plan : nvlm::host::ProgramCopy {
  using ProgramCopy::ProgramCopy;
  void* scratch = nullptr;
  uint64_t scratch_bytes = 0;
};

namespace nvlm::host {
namespace {

// Above this, memory is mapped rather than taken from the heap.
constexpr uint64_t kMapFrom = uint64_t{1} << 20;
constexpr uint64_t kAlignment = 64;
// A core with AVX2 does 48 G multiply-adds a second and gets 2 to 5 G weights from memory: from some 20 rows on a step
// is bound by the products. More than these would not be faster, and running answers would wait longer for their step.
constexpr int32_t kStepRows = 256;

thread_local std::string open_error;

nvlm_status fail(nvlm_device* device, nvlm_status status, const std::string& message) {
  device->error = message;
  return status;
}

uint64_t rounded(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

void* take(uint64_t bytes) {
  return bytes >= kMapFrom ? map_anonymous(bytes) : std::aligned_alloc(kAlignment, rounded(bytes));
}

void give(void* memory, uint64_t bytes) {
  if (bytes >= kMapFrom) {
    unmap(memory, bytes);
  } else {
    std::free(memory);
  }
}

nvlm_status alloc(nvlm_device* device, uint64_t bytes, void** memory) {
  *memory = take(bytes ? bytes : 1);
  if (!*memory) return fail(device, NVLM_OUT_OF_MEMORY, "the system refused " + std::to_string(bytes) + " bytes");
  device->used += bytes;
  return NVLM_OK;
}

void release(nvlm_device* device, void* memory, uint64_t bytes) {
  if (!memory) return;
  give(memory, bytes ? bytes : 1);
  device->used -= bytes;
}

nvlm_status copy(nvlm_device*, void* to, const void* from, uint64_t bytes) {
  if (bytes) std::memcpy(to, from, bytes);
  return NVLM_OK;
}

uint64_t weight_bytes(nvlm_device* device, const nvlm_weight_source* source) {
  if (source->use != NVLM_VECTOR) return device->kernels->packed_bytes(*source);
  uint64_t elements = 0;
  for (int32_t p = 0; p < source->parts; ++p) elements += static_cast<uint64_t>(source->part[p].cols);
  return elements * sizeof(float);
}

void free_weight(nvlm_device* device, nvlm_weight* weight) {
  release(device, weight->data, weight->bytes);
  delete weight;
}

nvlm_status upload_weight(nvlm_device* device, const nvlm_weight_source* source, nvlm_weight** out) {
  const char* wrong = nullptr;
  if (const nvlm_status status = check_source(*source, &wrong)) return fail(device, status, wrong);
  const bool vector = source->use == NVLM_VECTOR;
  std::unique_ptr<nvlm_weight> weight(new (std::nothrow) nvlm_weight{});
  if (!weight) return fail(device, NVLM_OUT_OF_MEMORY, "no memory for a weight");
  weight->use = source->use;
  weight->interleaved = source->interleave != 0;
  weight->bytes = weight_bytes(device, source);
  weight->cols = source->part[0].cols;
  weight->dtype = vector ? NVLM_F32 : source->part[0].dtype;
  weight->rows = source_rows(*source);
  if (const nvlm_status status = alloc(device, weight->bytes, &weight->data)) return status;
  if (vector) {
    auto* to = static_cast<float*>(weight->data);
    for (int32_t p = 0; p < source->parts; ++p) {
      for (int64_t i = 0; i < source->part[p].cols; ++i)
        *to++ = stored_value(source->part[p].data, source->part[p].dtype, i);
    }
    weight->rows = 1;
    weight->cols = static_cast<int64_t>(weight->bytes / sizeof(float));
  } else {
    if (weight->bytes < kMapFrom) std::memset(weight->data, 0, weight->bytes);  // mapped memory is zero already
    device->kernels->pack(*source, *weight);
  }
  *out = weight.release();
  return NVLM_OK;
}

// What a kernel sees of a record without its operands, for so many tiles, rows and out rows.
Op sized(const nvlm_device& device, const nvlm_program& program, const nvlm_record& record,
         const int64_t (&counts)[NVLM_EXTENT_COUNT]) {
  Op op{};
  op.record = &record;
  if (record.in >= 0) {
    const nvlm_tensor& t = program.tensors[record.in];
    op.in_rows = t.rows_each * counts[t.extent];
    op.in_cols = t.cols;
  }
  if (record.out >= 0) {
    const nvlm_tensor& t = program.tensors[record.out];
    op.out_rows = t.rows_each * counts[t.extent];
    op.out_cols = t.cols;
  }
  op.parallel_for = device.parallel_for;
  op.pool = device.pool;
  op.threads = device.threads;
  return op;
}

// The ops of a plan run one after the other and share what the neediest takes.
uint64_t plan_bytes(nvlm_device* device, const nvlm_program* program) {
  uint64_t most = 0;
  for (int32_t i = 0; i < program->record_count; ++i) {
    const nvlm_record& record = program->records[i];
    const auto scratch = device->kernels->kernel[record.op].scratch;
    if (scratch) most = std::max(most, scratch(sized(*device, *program, record, program->max_count)));
  }
  return most;
}

nvlm_status compile(nvlm_device* device, const nvlm_program* program, nvlm_plan** out) {
  try {
    const std::string wrong = check_program(*program);
    if (!wrong.empty()) return fail(device, NVLM_INVALID, wrong);
    auto plan = std::make_unique<nvlm_plan>(*program);
    plan->scratch_bytes = plan_bytes(device, program);
    if (plan->scratch_bytes) {
      if (const nvlm_status status = alloc(device, plan->scratch_bytes, &plan->scratch)) return status;
    }
    *out = plan.release();
    return NVLM_OK;
  } catch (const std::bad_alloc&) {
    return fail(device, NVLM_OUT_OF_MEMORY, "no memory for a plan");
  }
}

void free_plan(nvlm_device* device, nvlm_plan* plan) {
  release(device, plan->scratch, plan->scratch_bytes);
  delete plan;
}

Op bind(const nvlm_device& device, const nvlm_plan& plan, const nvlm_record& record, const nvlm_batch& batch) {
  Op op = sized(device, plan.program, record, {batch.tiles, batch.rows, batch.outs});
  op.batch = &batch;
  op.scratch = plan.scratch;
  char* arena = static_cast<char*>(plan.program.arena);
  if (record.in >= 0) op.in = reinterpret_cast<const float*>(arena + plan.tensors[record.in].offset);
  if (record.out >= 0) op.out = reinterpret_cast<float*>(arena + plan.tensors[record.out].offset);
  const auto weight = [&](int32_t i) -> const nvlm_weight* { return i < 0 ? nullptr : plan.packed[i]; };
  op.w = weight(record.w);
  op.bias = weight(record.bias);
  op.scale = weight(record.scale);
  op.extra = weight(record.extra);
  op.self_kv = &plan.program.self_kv;
  op.cross_kv = &plan.program.cross_kv;
  return op;
}

nvlm_status run(nvlm_device* device, nvlm_plan* plan, const nvlm_batch* batch, const volatile int32_t* cancel) {
  try {
    const std::string wrong = check_batch(plan->program, *batch);
    if (!wrong.empty()) return fail(device, NVLM_INVALID, wrong);
    for (const nvlm_record& record : plan->records) {
      if (cancelled(cancel)) return NVLM_CANCELLED;
      const Op op = bind(*device, *plan, record, *batch);
      if ((record.out >= 0 ? op.out_rows : op.in_rows) > 0) device->kernels->kernel[record.op].run(op);
    }
    return NVLM_OK;
  } catch (const std::bad_alloc&) {
    return fail(device, NVLM_OUT_OF_MEMORY, "no memory while running a plan");
  }
}

void close_device(nvlm_device* device) {
  if (device->release_pool) device->release_pool(device->pool);
  delete device;
}

void capabilities(nvlm_device* device, nvlm_capabilities* out) {
  *out = {device->backend_name, device->kernels->name, device->threads, NVLM_F32, kStepRows, 0, 0};
}
nvlm_status wait(nvlm_device*) { return NVLM_OK; }

int32_t device_count() { return 1; }

void describe(int32_t, nvlm_device_description* out) {
  *out = {};
  std::strcpy(out->name, "CPU");
  out->available = 1;
  out->memory_free = free_memory();
  out->memory_total = total_memory();
}
uint64_t used_bytes(nvlm_device* device) { return device->used; }
const char* last_error(nvlm_device* device) { return device ? device->error.c_str() : open_error.c_str(); }

}  // namespace

void set_open_error(const char* message) { open_error = message; }

nvlm_status open_device(const Kernels& kernels, const char* backend_name, int threads, ParallelFor parallel_for,
                        void* pool, void (*release_pool)(void*), nvlm_device** device) {
  *device = new (std::nothrow) nvlm_device{&kernels, backend_name, threads, parallel_for, pool, release_pool, 0, {}};
  if (*device) return NVLM_OK;
  set_open_error("The system refused memory. Close other programs.");
  return NVLM_OUT_OF_MEMORY;
}

nvlm_backend backend_table() {
  nvlm_backend b{};
  b.version = NVLM_BACKEND_VERSION;
  b.device_count = device_count;
  b.describe = describe;
  b.close = close_device;
  b.capabilities = capabilities;
  b.alloc = alloc;
  b.free = release;
  b.write = copy;
  b.read = copy;
  b.weight_bytes = weight_bytes;
  b.upload_weight = upload_weight;
  b.free_weight = free_weight;
  b.plan_bytes = plan_bytes;
  b.compile = compile;
  b.free_plan = free_plan;
  b.run = run;
  b.wait = wait;
  b.used_bytes = used_bytes;
  b.last_error = last_error;
  return b;
}

}  // namespace nvlm::host
