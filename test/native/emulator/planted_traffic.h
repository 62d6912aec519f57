// Kernels of one warp whose use of memory can be counted by hand: proof that the emulator's traffic counters tell what
// they claim to.
#pragma once

#include <string>
#include <vector>

#include "cuda/gpu.h"
#include "emulator/control.h"

namespace nvlm::emulator {

constexpr int kPlantedFloats = 1024;  // of in and of out

struct PlantedTraffic {
  std::string name;
  gpu::Status (*launch)(const float* in, float* out, gpu::Stream stream);
  Traffic expected;
};
std::vector<PlantedTraffic> planted_traffic();

}  // namespace nvlm::emulator
