// How well warps use memory: the 32-byte sectors of global memory that each instruction of a warp touches, and the
// passes over the 32 banks of shared memory that it takes, against the least for the same bytes. Internal to the
// emulator; tests switch it on by Settings::traffic and ask `traffic` (control.h).
#pragma once

#include <cstdint>

namespace nvlm::emulator {

extern bool traffic_counted;

// Starts anew, counting or not.
void count_traffic(bool on);
// A launch that begins, and its dynamic shared memory.
void note_launch(const void* kernel, uint32_t shared);
// An access of the current thread. `site`: the address that its instruction returns to, the same for all lanes.
void note_traffic(const void* site, const void* address, uint64_t bytes);

}  // namespace nvlm::emulator
