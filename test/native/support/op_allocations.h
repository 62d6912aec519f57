// Counts what the whole program takes from the heap by operator new: what a plan needs while it runs it must have taken
// when it was compiled.
#pragma once

#include <cstdint>

namespace nvlm::test {

// Allocations of all threads since the program began.
int64_t allocations();

}  // namespace nvlm::test
