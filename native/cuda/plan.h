// A compiled program: which launches its records become, and graphs of those steps that come again and again.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "cuda/batch_block.h"
#include "cuda/device.h"
#include "cuda/launchers.h"
#include "ops/ops.h"
#include "ops/program_copy.h"

namespace nvlm::gpu {

// Everything that the launches of a step depend on beside what lies in device memory. A step of decoding has it in
// common with the next one.
struct StepShape {
  int64_t tiles, rows, outs;
  bool sampled;
  auto operator<=>(const StepShape&) const = default;
};
struct StepGraph {
  Graph graph = nullptr;  // null: a step of this shape came once
  uint64_t last_step = 0;
};

}  // namespace nvlm::gpu

struct nvlm_plan : nvlm::ProgramCopy {
  nvlm_plan(nvlm_device* on, const nvlm_program& from) : ProgramCopy(from), device(on) {}

  nvlm_device* device;
  std::vector<nvlm::gpu::DeviceWeight> weights;  // `packed`, as launchers take them
  nvlm::gpu::BatchLimits limits;
  void* block_memory = nullptr;
  void* workspace_memory = nullptr;
  nvlm::gpu::BatchBlock block;
  nvlm::gpu::Workspace workspace{};
  std::map<nvlm::gpu::StepShape, nvlm::gpu::StepGraph> graphs;
  uint64_t steps = 0;              // of shapes that may have graphs
  nvlm_sampled* wanted = nullptr;  // where the last run's batch wants what was sampled, `wanted_count` of them
  int64_t wanted_count = 0;

  ~nvlm_plan();
};

namespace nvlm::gpu {

// Device bytes beside the arena: the batch's block and the workspace.
uint64_t plan_bytes(const nvlm_device& device, const nvlm_program& program);
nvlm_status compile(nvlm_device* device, const nvlm_program* program, nvlm_plan** plan);
// Enqueues a step; what was sampled is in the batch after `finish`.
nvlm_status run(nvlm_device* device, nvlm_plan* plan, const nvlm_batch* batch, const volatile int32_t* cancel);
void finish(nvlm_plan* plan);

}  // namespace nvlm::gpu
