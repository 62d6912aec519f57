// The emulator itself: every planted bug is caught by the detector that is meant to, whatever the schedule, and the
// same program without it is clean.
#include "emulator/control.h"
#include "emulator/planted.h"
#include "support/check.h"

namespace {

using namespace nvlm;

bool named_in(const std::string& fault, const std::string& detectors) {
  for (size_t from = 0; from <= detectors.size();) {
    const size_t end = std::min(detectors.find('|', from), detectors.size());
    if (fault.rfind(detectors.substr(from, end - from) + ":", 0) == 0) return true;
    from = end + 1;
  }
  return false;
}

const char* word(emulator::Completion c) {
  return c == emulator::Completion::early ? "early" : c == emulator::Completion::late ? "late" : "random";
}

constexpr emulator::Completion kCompletions[] = {emulator::Completion::early, emulator::Completion::late,
                                                 emulator::Completion::random};

void check_bug(const emulator::Planted& bug) {
  int caught = 0, runs = 0;
  for (const emulator::Completion completion : kCompletions) {
    for (uint64_t seed = 1; seed <= 5; ++seed) {
      emulator::Settings settings;
      settings.seed = seed;
      settings.completion = completion;
      const std::string at = std::string(word(completion)) + " " + std::to_string(seed);
      emulator::configure(settings);
      bug.run(false);
      test::check(emulator::fault().empty(), "sound, " + at + ": " + emulator::fault());
      emulator::configure(settings);
      bug.run(true);
      const std::string fault = emulator::fault();
      ++runs;
      caught += !fault.empty();
      test::check(fault.empty() || named_in(fault, bug.detector),
                  at + ": expected " + bug.detector + " but got " + fault);
    }
  }
  // Where values tell, an early copy hides the bug: that is why copies come late and at random too.
  const bool by_value = bug.detector == "value" || bug.name == "streams_without_event";
  test::check(by_value && bug.name != "baked_in_position" ? caught > 0 : caught == runs,
              "caught in " + std::to_string(caught) + " of " + std::to_string(runs) + " schedules");
}

// Dependent launches begin early or late as they are told to; else the planted ones would be found in one order alone.
void check_overlaps() {
  for (const emulator::Completion completion : kCompletions) {
    uint64_t overlaps = 0;
    for (uint64_t seed = 1; seed <= 5; ++seed) {
      emulator::Settings settings;
      settings.seed = seed;
      settings.completion = completion;
      emulator::configure(settings);
      overlaps += emulator::overlaps_of_dependent_launches();
      test::equal(emulator::fault(), std::string(), "fault");
    }
    const uint64_t all = 5 * 8;
    const bool as_told = completion == emulator::Completion::early  ? overlaps == all
                         : completion == emulator::Completion::late ? overlaps == 0
                                                                    : overlaps > 0 && overlaps < all;
    test::check(as_told, std::string(word(completion)) + ": " + std::to_string(overlaps) + " of " +
                             std::to_string(all) + " dependent launches began early");
  }
}

}  // namespace

int main() {
  nvlm::test::run("kernels are instrumented",
                  [] { test::check(emulator::instrumented(), "compile kernels with -fsanitize=thread"); });
  for (const emulator::Planted& bug : emulator::planted_bugs()) nvlm::test::run(bug.name, [&] { check_bug(bug); });
  for (const emulator::Planted& bug : emulator::planted_launches()) nvlm::test::run(bug.name, [&] { check_bug(bug); });
  nvlm::test::run("dependent launches overlap", check_overlaps);
  nvlm::test::run("nothing is left on the device",
                  [] { test::equal(emulator::live_allocations(), uint64_t{0}, "live allocations"); });
  return nvlm::test::summary();
}
