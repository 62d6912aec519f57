// How a matrix lies in device memory. A quantised format is a further one, with kernels in the planner's table
// (gemm_plan.cc) that read it.
#pragma once

namespace nvlm::gpu {

enum class WeightFormat { bf16 };

}  // namespace nvlm::gpu
