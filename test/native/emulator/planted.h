// Small programs with one bug each, and the same without it: proof that the emulator catches what it claims to.
#pragma once

#include <string>
#include <vector>

namespace nvlm::emulator {

struct Planted {
  std::string name;
  std::string detector;  // the first word of the fault; several, separated by |, where the schedule decides
  void (*run)(bool planted);
};
std::vector<Planted> planted_bugs();
std::vector<Planted> planted_launches();

// Runs nine launches, eight of them dependent: how many of these begin while the one before them still runs. All of
// them wait, and are right.
uint64_t overlaps_of_dependent_launches();

}  // namespace nvlm::emulator
