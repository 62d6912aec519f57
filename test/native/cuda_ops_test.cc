// The op table on the CUDA library, through its backend table and over the emulator: every case of the CPU's test whose rows suit the device, in several
// schedules. Limits are those of the reference plus the rounding to bf16 (support/op_runner.h, rounded).
//
//   cuda_ops_test            all
//   cuda_ops_test WORD       only cases whose name contains WORD
#include <cstring>
#include <memory>

#include "cases/cases.h"
#include "emulator/control.h"
#include "support/check.h"
#include "support/op_runner.h"

namespace nvlm::test {
namespace {

std::vector<OpCase> all_cases() {
  std::vector<OpCase> all;
  for (const auto cases : {linear_cases, activation_cases, norm_cases, attention_cases, kv_write_cases, patch_embed_cases, pixel_shuffle_cases, embed_cases}) {
    for (OpCase& c : cases()) all.push_back(std::move(c));
  }
  return all;
}

void check_case(const Device& reference, const OpCase& given) {
  const OpCase c = rounded(given);
  const Outcome truth = run_case(reference, c);
  const Bounds bounds = bounds_of(c, truth);
  const std::pair<uint64_t, emulator::Completion> schedules[] = {{1, emulator::Completion::late}, {2, emulator::Completion::random}};
  for (const auto& [seed, completion] : schedules) {
    emulator::Settings settings;
    settings.seed = seed;
    settings.completion = completion;
    emulator::configure(settings);
    {
      const Device device(*nvlm_cuda_backend());
      const std::string wrong = compare(c, bounds, run_case(device, c), truth).wrong;
      if (!check(wrong.empty(), "seed " + std::to_string(seed) + ": " + wrong)) return;
    }
    if (!check(emulator::fault().empty(), emulator::fault())) return;
    check(emulator::counters().matrix_conflicts == 0, "bank conflicts of ldmatrix");
  }
}

}  // namespace
}  // namespace nvlm::test

int main(int argc, char** argv) {
  using namespace nvlm::test;
  const char* word = argc > 1 ? argv[1] : nullptr;
  const Device reference("reference", 1);
  int unfit = 0;
  for (const OpCase& c : all_cases()) {
    if (word && c.name.find(word) == std::string::npos) continue;
    if (!fits_bf16(c)) {
      ++unfit;
      continue;
    }
    run(c.name, [&] { check_case(reference, c); });
  }
  run("nothing is left on the device", [] { equal(nvlm::emulator::live_allocations(), uint64_t{0}, "live allocations"); });
  std::printf("%d cases have rows that are no multiples of 8: they are the CPU's alone\n", unfit);
  return summary();
}
