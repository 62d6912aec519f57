// Memory and CPU facts of the machine as this process may use them: control groups and affinity masks included.
#pragma once

#include <cstdint>

namespace nvlm {

// Zeroed pages straight from the system, 4096-byte aligned at least. Returns nullptr when the system refuses; 0 bytes
// give nullptr too. Large buffers come from here because some hosts (Electron) refuse heap allocations of 2 GiB.
void* map_anonymous(std::uint64_t bytes);

// `bytes` as given to map_anonymous. nullptr is allowed.
void unmap(void* memory, std::uint64_t bytes);

// Bytes this process could still allocate: what the system calls available, or what its control group leaves, whichever
// is less. Page cache of the group counts as free, since the system gives it back. 0 when nothing is known.
std::uint64_t free_memory();

// Bytes of the machine, or the control group's limit if that is lower. 0 when nothing is known.
std::uint64_t total_memory();

// CPUs that may run threads of this process at once: affinity mask and the control group's quota (rounded up), at least
// 1.
int usable_cpus();

}  // namespace nvlm
