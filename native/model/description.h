// What can be said of a checkpoint from its config and tensor headers, before anything is loaded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/load_options.h"
#include "model/memory_plan.h"

namespace nvlm {

struct ParameterCounts {
  uint64_t encoder = 0, projector = 0, decoder = 0, cross_attention = 0;
};

struct Description {
  ModelConfig config;
  LoadOptions options;  // as resolved: no zeros left
  MemoryUse memory;
  ParameterCounts parameters;
  std::string instruction_set;       // of the CPU; empty for other devices
  std::vector<std::string> program;  // the decoder's, a line an op
  uint64_t memory_free = 0;          // of the device, before loading
  std::string fallback;              // device "auto" took the CPU: why, and the fix; else empty
};

Description describe(const Blueprint& blueprint, const Device& device);

}  // namespace nvlm
