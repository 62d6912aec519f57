#include "cpu/kernels.h"

namespace nvlm::cpu {
namespace {

bool always() { return true; }

#ifdef NVLM_HAS_CPU_SET_avx2
// The compiler's check asks CPUID and, through XGETBV, whether the system saves the wide registers.
bool has_avx2() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2") &&
         __builtin_cpu_supports("f16c");
}
#endif

}  // namespace

const std::vector<InstructionSet>& instruction_sets() {
  static const std::vector<InstructionSet> list = {
#ifdef NVLM_HAS_CPU_SET_avx2
      {"avx2", avx2::kernels, has_avx2},
#endif
      {"generic", generic::kernels, always},
  };
  return list;
}

const host::Kernels* choose_kernels(const std::string& name, std::string& reason) {
  std::string names;
  bool known = false;
  for (const InstructionSet& set : instruction_sets()) {
    known = known || name == set.name;
    if (!set.available()) continue;
    if (name.empty() || name == set.name) return &set.kernels();
    names += (names.empty() ? "" : ", ") + std::string(set.name);
  }
  reason = (known ? "This CPU or system lacks the instruction set '" : "There is no instruction set '") + name +
           "'; this machine has " + names + ". Choose one of them, or none for the best.";
  return nullptr;
}

}  // namespace nvlm::cpu
