// Stackful coroutines: one per emulated CUDA thread. They switch only to and from the scheduler's own stack.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nvlm::emulator {

constexpr size_t kStackBytes = 64 * 1024;

struct Fiber {
  void* stack_pointer = nullptr;
  unsigned char* stack = nullptr;  // kStackBytes
  void* sanitizer_stack = nullptr;
};

// All stacks lie in one range, so that an address tells whose it is.
struct StackRange {
  unsigned char *begin, *end;
};
StackRange stack_range();

// Prepares `fiber` (on stack number `index`) to call entry(argument) when first resumed. entry must not return; it ends
// by `leave` and is not resumed.
void prepare(Fiber& fiber, int index, void (*entry)(void*), void* argument);
// From the scheduler: runs the fiber until it calls `leave`.
void resume(Fiber& fiber);
// From the fiber: back to the scheduler. `last`: the fiber will not run again.
void leave(Fiber& fiber, bool last);

constexpr int kMaxFibers = 8192;

}  // namespace nvlm::emulator
