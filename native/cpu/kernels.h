// The kernel tables, one an instruction set, best first.
#pragma once

#include <string>

#include "host/kernels.h"

namespace nvlm::cpu {

namespace generic {
const host::Kernels& kernels();
}
namespace avx2 {
const host::Kernels& kernels();
}

// By name, or the best this CPU and system can run when `name` is empty. nullptr: unknown or not available; `reason`
// says which, and what there is.
const host::Kernels* choose_kernels(const std::string& name, std::string& reason);

}  // namespace nvlm::cpu
