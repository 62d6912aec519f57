// The instruction sets of the CPU backend and their kernel tables.
#pragma once

#include <string>
#include <vector>

#include "host/kernels.h"

namespace nvlm::cpu {

namespace generic {
const host::Kernels& kernels();
}
namespace avx2 {
const host::Kernels& kernels();
}

struct InstructionSet {
  const char* name;
  const host::Kernels& (*kernels)();
  bool (*available)();  // whether this CPU and system can run it
};

// Those that were built, best first.
const std::vector<InstructionSet>& instruction_sets();

// By name, or the best available when `name` is empty. nullptr: unknown or not available; `reason` says which, and what
// there is.
const host::Kernels* choose_kernels(const std::string& name, std::string& reason);

}  // namespace nvlm::cpu
