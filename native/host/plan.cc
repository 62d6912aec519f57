#include "host/plan.h"

#include <algorithm>
#include <memory>
#include <new>
#include <string>

#include "ops/cancel.h"
#include "ops/check_program.h"

namespace nvlm::host {
namespace {

// What a kernel sees of a record without its operands, for so many tiles, rows and out rows.
Op sized(const Device& device, const nvlm_program& program, const nvlm_record& record,
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
  op.threads = device.threads;
  return op;
}

Op bind(const Device& device, const Plan& plan, const nvlm_record& record, const nvlm_batch& batch) {
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
  op.q_norm = weight(record.q_norm);
  op.k_norm = weight(record.k_norm);
  op.class_token = weight(record.class_token);
  op.positions = weight(record.positions);
  op.self_kv = &plan.program.self_kv;
  op.cross_kv = &plan.program.cross_kv;
  return op;
}

}  // namespace

uint64_t plan_bytes(const Device& device, const nvlm_program& program) {
  uint64_t most = 0;
  for (int32_t i = 0; i < program.record_count; ++i) {
    const nvlm_record& record = program.records[i];
    const auto scratch = device.kernels->kernel[record.op].scratch;
    if (scratch) most = std::max(most, scratch(sized(device, program, record, program.max_count)));
  }
  return most;
}

nvlm_status compile(Device& device, const nvlm_program& program, Plan** out) {
  try {
    const std::string wrong = check_program(program);
    if (!wrong.empty()) return device.fail(NVLM_INVALID, wrong);
    auto plan = std::make_unique<Plan>(program);
    plan->scratch_bytes = plan_bytes(device, program);
    if (plan->scratch_bytes) {
      if (const nvlm_status status = device.take(plan->scratch_bytes, &plan->scratch); status != NVLM_OK) return status;
    }
    *out = plan.release();
    return NVLM_OK;
  } catch (const std::bad_alloc&) {
    return device.fail(NVLM_OUT_OF_MEMORY, "no memory for a plan");
  }
}

void free_plan(Device& device, Plan* plan) {
  device.give(plan->scratch, plan->scratch_bytes);
  delete plan;
}

nvlm_status run(Device& device, const Plan& plan, const nvlm_batch& batch, const volatile int32_t* cancel) {
  try {
    const std::string wrong = check_batch(plan.program, batch);
    if (!wrong.empty()) return device.fail(NVLM_INVALID, wrong);
    for (const nvlm_record& record : plan.records) {
      if (cancelled(cancel)) return NVLM_CANCELLED;
      const Op op = bind(device, plan, record, batch);
      if ((record.out >= 0 ? op.out_rows : op.in_rows) > 0) device.kernels->kernel[record.op].run(op);
    }
    return NVLM_OK;
  } catch (const std::bad_alloc&) {
    return device.fail(NVLM_OUT_OF_MEMORY, "no memory while running a plan");
  }
}

}  // namespace nvlm::host
