// Every op on every instruction set of the CPU backend, against the naive reference.
//
//   ops_test                 all tests
//   ops_test WORD            only op cases whose name contains WORD
//   ops_test --time [WORD] [--json FILE]
//                            time, rate and share of this machine's ceiling for shapes of real models; the same lines
//                              as JSON
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "cases/cases.h"
#include "cpu/kernels.h"
#include "ops/op_info.h"
#include "support/check.h"
#include "support/op_time.h"

namespace nvlm::test {
namespace {

std::vector<std::string> available_sets() {
  std::vector<std::string> sets;
  for (const cpu::InstructionSet& set : cpu::instruction_sets()) {
    if (set.available()) sets.emplace_back(set.name);
  }
  return sets;
}

// Returns how many cases were skipped for want of an instruction set.
int compare_all(const std::vector<std::string>& sets, const char* word) {
  const Device reference("reference", 1);
  std::vector<std::unique_ptr<Device>> devices;
  for (const std::string& set : sets) devices.push_back(std::make_unique<Device>(set, 2));
  int skipped = 0;
  for (const OpCase& c : all_cases()) {
    if (word && c.name.find(word) == std::string::npos) continue;
    run(c.name, [&] {
      const Outcome truth = run_case(reference, c);
      const Bounds bounds = bounds_of(c, truth);
      for (const auto& device : devices) {
        const std::string wrong = compare(c, bounds, run_case(*device, c), truth).wrong;
        check(wrong.empty(), device->name() + ": " + wrong);
      }
    });
    skipped += static_cast<int>(cpu::instruction_sets().size() - sets.size());
  }
  return skipped;
}

// What has no case is compared with nothing.
void every_op_has_cases() {
  bool compared[NVLM_OP_COUNT] = {};
  for (const OpCase& c : all_cases()) compared[c.record.op] = true;
  for (int op = 0; op < NVLM_OP_COUNT; ++op)
    check(compared[op], std::string("no case compares ") + op_name(static_cast<nvlm_op>(op)));
}

// An op that leaves memory, or divides by what was not refused, is the failure of its case. (A sanitized build reports
// it better itself.) Takes no lock: the heap's may be held.
void crashed(int signal) {
  char text[256];
  const int length = std::snprintf(text, sizeof text, "FAILED [%s] crashed with signal %d\n", current.c_str(), signal);
  std::_Exit(::write(STDOUT_FILENO, text, static_cast<size_t>(std::min<int>(length, sizeof text - 1))) > 0 ? 1 : 2);
}

}  // namespace
}  // namespace nvlm::test

int main(int argc, char** argv) {
  using namespace nvlm::test;
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // nothing printed is lost in a crash
  if (!std::getenv("NVLM_SANITIZE"))
    for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGABRT}) std::signal(signal, crashed);
  const std::vector<std::string> sets = available_sets();
  bool timing = false;
  const char *word = nullptr, *json = nullptr;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--time") == 0) {
      timing = true;
    } else if (std::strcmp(argv[i], "--json") == 0 && i + 1 < argc) {
      json = argv[++i];
    } else {
      word = argv[i];
    }
  }
  if (timing) return time_ops(sets, timed_cases(), word, json);
  const int skipped = compare_all(sets, word);
  if (!word) {
    run("every op has cases", every_op_has_cases);
    const Device reference("reference", 1);
    test_sampling(reference);
    test_rejections(reference);
    for (const std::string& set : sets) {
      const Device device(set, 2);
      test_rows_alone(device);
      test_sampling(device);
      test_rejections(device);
    }
    test_devices(sets);
  }
  for (const nvlm::cpu::InstructionSet& set : nvlm::cpu::instruction_sets()) {
    if (!set.available()) std::printf("skipped: this machine has no %s\n", set.name);
  }
  std::printf("%d skipped\n", skipped);
  return summary();
}
