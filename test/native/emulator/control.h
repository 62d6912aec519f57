// How tests steer the emulator and ask what it saw. Emulated devices share one memory; their calls may come from any
// thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace nvlm::emulator {

// When asynchronous copies (cp.async, and copies on streams) happen: as soon as issued, as late as allowed, or each by
// a coin.
enum class Completion { early, late, random };

struct Settings {
  uint64_t seed = 1;
  Completion completion = Completion::random;
  int major = 8, minor = 0;
  int devices = 1;     // alike, but that each has as much memory as the first one more than the one before
  int driver = 13000;  // the CUDA version it knows; 0: there is none
  int multiprocessors = 4;
  int shared_per_block = 163 * 1024;
  int resident_blocks = 3;                // blocks interleaved at a time
  uint64_t memory = uint64_t{768} << 20;  // of the device
  // This one (memory of the device or page-locked, graphs) finds no memory; 0: none fails.
  uint64_t fail_allocation = 0;
  uint64_t fault_at = 0;    // this launch is a fault; 0: none
  bool has_kernels = true;  // false: launches answer that there is none for this GPU
  bool traffic = false;     // count what `traffic` tells
};

// Starts anew: forgets a fault, frees nothing that is still allocated (that is a trap). Environment variables
// NVLM_EMULATOR_SEED, NVLM_EMULATOR_COMPLETION (early, late, random), NVLM_EMULATOR_MEMORY (bytes),
// NVLM_EMULATOR_FAIL_ALLOCATION, NVLM_EMULATOR_FAULT_AT and NVLM_EMULATOR_KERNELS (0: none) override, also where nobody
// calls this.
void configure(const Settings& settings);

// What went wrong first since `configure`: detector, kernel, block, thread, and the words. Empty: nothing.
std::string fault();
// Records what is wrong, if nothing was before; a test may add its own. From a kernel it does not return: the launch is
// over.
void trap(const char* detector, const std::string& words);
// Device allocations that are alive.
uint64_t live_allocations();

// Counted over all launches since `configure`; the memory hooks must be compiled in (see instrumented) for all but
// launches and contexts.
struct Counters {
  uint64_t launches = 0;
  uint64_t ordinary_launches = 0;  // asked for, not as dependent ones
  uint64_t overlaps = 0;           // dependent launches that began before the one before them had ended
  uint64_t matrix_conflicts = 0;   // extra cycles of load_matrices over conflict-free ones
  uint64_t accesses = 0;
  uint64_t graphs_made = 0, graphs_run = 0;
  uint64_t host_waits = 0;  // calls that waited for a stream or an event which was not there yet
  uint64_t contexts = 0;    // calls of use_device and memory_info: on a GPU the first makes a context
};
Counters counters();

// What the warps of one kernel asked of memory, and the least for the same bytes: sectors of 32 bytes of global memory,
// passes over the banks of shared memory.
struct Traffic {
  uint64_t sectors = 0, least_sectors = 0;
  uint64_t passes = 0, least_passes = 0;
  std::string worst;    // the instruction that wastes most, as an address for `addr2line -ife PROGRAM`; empty: none
  uint32_t shared = 0;  // most bytes of dynamic shared memory that a launch took
};
// By kernel, over all launches since `configure` with Settings::traffic; kernels must be instrumented.
std::map<std::string, Traffic> traffic();

// True when kernels were compiled with memory hooks: races, uninitialised reads and bounds are checked.
bool instrumented();

}  // namespace nvlm::emulator
