// A compiled program in host memory: the loop over its records.
#pragma once

#include "host/device.h"
#include "ops/program_copy.h"

namespace nvlm::host {

struct Plan : ProgramCopy {
  using ProgramCopy::ProgramCopy;
  void* scratch = nullptr;
  uint64_t scratch_bytes = 0;
};

// The ops of a plan run one after the other and share what the neediest takes.
uint64_t plan_bytes(const Device& device, const nvlm_program& program);
nvlm_status compile(Device& device, const nvlm_program& program, Plan** plan);
void free_plan(Device& device, Plan* plan);
nvlm_status run(Device& device, const Plan& plan, const nvlm_batch& batch, const volatile int32_t* cancel);

}  // namespace nvlm::host
