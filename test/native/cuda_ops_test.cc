// The op table on the CUDA library, through its backend table: every case of the CPU's test whose rows suit the device.
// Over the emulator, linked into this program, in several schedules each; or, built by scripts/gpu-check.sh, the
// library itself on a GPU. Limits are those of the reference plus the rounding to bf16 (support/op_runner.h, rounded).
//
//   cuda_ops_test            all
//   cuda_ops_test WORD       only cases whose name contains WORD
//
// NVLM_CUDA_LIBRARY: the library's file, which is opened instead of what is linked.
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <stdexcept>

#include "cases/cases.h"
#include "platform/dynamic_library.h"
#include "support/check.h"
#include "support/op_runner.h"
#ifdef NVLM_EMULATOR
#include "emulator/control.h"
#endif

namespace nvlm::test {
namespace {

#ifdef NVLM_EMULATOR
// Each case runs with copies early, late and at random, each with a seed of its own; a cheap one twice, until that took
// kCheapWork accesses to memory (about half a microsecond each, barriers and shuffles among them). A sanitized build,
// which looks for other bugs and is slow, runs one for each case, all three by turns.
constexpr emulator::Completion kCompletion[] = {emulator::Completion::early, emulator::Completion::late,
                                                emulator::Completion::random};
constexpr uint64_t kProbes = 1;  // a device that is opened runs a kernel first
constexpr uint64_t kCompletions = std::size(kCompletion), kMostSchedules = 6, kCheapWork = 50000;
#endif

const nvlm_backend& opened(const char* file) {
  static std::shared_ptr<DynamicLibrary> library;
  std::string reason = "no NVLM_CUDA_LIBRARY";
  if (!library && file) library = DynamicLibrary::open(file, &reason);
  const auto get =
      library ? reinterpret_cast<const nvlm_backend* (*)()>(library->symbol("nvlm_cuda_backend")) : nullptr;
  if (!get) throw std::runtime_error("the CUDA library could not be opened: " + reason);
  const nvlm_backend& backend = *get();
  if (backend.version != NVLM_BACKEND_VERSION)
    throw std::runtime_error("the CUDA library has interface " + std::to_string(backend.version));
  return backend;
}

bool right(const nvlm_backend& backend, const OpCase& c, const Bounds& bounds, const Outcome& truth,
           const std::string& where) {
  const Device device(backend);
  const std::string wrong = compare(c, bounds, run_case(device, c), truth).wrong;
  return check(wrong.empty(), where + wrong);
}

void check_case(const Device& reference, const OpCase& given) {
  const OpCase c = rounded(given);
  const Outcome truth = run_case(reference, c);
  const Bounds bounds = bounds_of(c, truth);
  const char* library = std::getenv("NVLM_CUDA_LIBRARY");
#ifdef NVLM_EMULATOR
  if (library) {
    right(opened(library), c, bounds, truth, "");
    return;
  }
  static uint64_t turn = 0;
  const uint64_t first = emulator::instrumented() ? 1 : ++turn, least = emulator::instrumented() ? kCompletions : 1;
  uint64_t work = 0;
  for (uint64_t seed = first;
       seed < first + least || (seed <= kMostSchedules && emulator::instrumented() && work < kCheapWork); ++seed) {
    emulator::Settings settings;
    settings.seed = seed;
    settings.completion = kCompletion[seed % kCompletions];
    // Other tiles, splits and shares of pages.
    if (seed % 2 == 0) settings.major = 9, settings.multiprocessors = 132, settings.shared_per_block = 227 * 1024;
    emulator::configure(settings);
    if (!right(*nvlm_cuda_backend(), c, bounds, truth, "seed " + std::to_string(seed) + ": ")) return;
    if (!check(emulator::fault().empty(), emulator::fault())) return;
    check(emulator::counters().matrix_conflicts == 0, "bank conflicts of ldmatrix");
    if (c.launches > 0) equal(emulator::counters().launches, static_cast<uint64_t>(c.launches) + kProbes, "launches");
    // What begins a step is no dependent launch; all else is.
    const bool begins = c.record.op == NVLM_EMBED || (c.record.op == NVLM_PATCH_EMBED && c.batch.tiles > 0);
    equal(emulator::counters().ordinary_launches, kProbes + begins, "launches that are not dependent");
    work += emulator::counters().accesses;
  }
#else
  right(opened(library), c, bounds, truth, "");
#endif
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
#ifdef NVLM_EMULATOR
  run("nothing is left on the device",
      [] { equal(nvlm::emulator::live_allocations(), uint64_t{0}, "live allocations"); });
#endif
  std::printf("%d cases have rows that are no multiples of 8: they are the CPU's alone\n", unfit);
  return summary();
}
