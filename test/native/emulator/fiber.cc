#include "emulator/fiber.h"

#include <sys/mman.h>

#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if !defined(__x86_64__)
#error "The emulator switches stacks in x86-64 assembly. Build it on x86-64, or add the switch of this machine here."
#endif

// System V: callee-saved registers are pushed, the stack pointer is exchanged.
asm(R"(
.text
.globl nvlm_emulator_switch
.hidden nvlm_emulator_switch
.type nvlm_emulator_switch, @function
nvlm_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size nvlm_emulator_switch, .-nvlm_emulator_switch
)");
extern "C" void nvlm_emulator_switch(void** from, void* to);

namespace nvlm::emulator {
namespace {

constexpr size_t kGuardBytes = 4096;
constexpr size_t kSlot = kStackBytes + kGuardBytes;
constexpr size_t kStagger = 320;

void* scheduler_stack_pointer = nullptr;
struct Start {
  void (*entry)(void*);
  void* argument;
};
Start starts[kMaxFibers];

#if defined(__SANITIZE_ADDRESS__)
void* scheduler_sanitizer_stack = nullptr;
const void* scheduler_bottom = nullptr;
size_t scheduler_size = 0;
#endif

unsigned char* reserve() {
  void* memory =
      mmap(nullptr, kSlot * kMaxFibers, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();  // a test program without address space
  auto* base = static_cast<unsigned char*>(memory);
  for (int i = 0; i < kMaxFibers; ++i) mprotect(base + static_cast<size_t>(i) * kSlot, kGuardBytes, PROT_NONE);
  return base;
}

void first_run() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_bottom, &scheduler_size);
#endif
  // The index was left at the top of this stack by `prepare`.
  unsigned char here;
  const auto index = static_cast<size_t>(&here - stack_range().begin) / kSlot;
  starts[index].entry(starts[index].argument);
  std::abort();  // entry returned
}

}  // namespace

StackRange stack_range() {
  // Given back when the library that holds this is closed.
  static const struct Stacks {
    unsigned char* base = reserve();
    ~Stacks() {
#if defined(__SANITIZE_ADDRESS__)
      // Whoever gets this memory next is not to find the frames of threads that never returned.
      for (int i = 0; i < kMaxFibers; ++i)
        __asan_unpoison_memory_region(base + static_cast<size_t>(i) * kSlot + kGuardBytes, kStackBytes);
#endif
      munmap(base, kSlot * kMaxFibers);
    }
  } stacks;
  return {stacks.base, stacks.base + kSlot * kMaxFibers};
}

void prepare(Fiber& fiber, int index, void (*entry)(void*), void* argument) {
  fiber.stack = stack_range().begin + static_cast<size_t>(index) * kSlot + kGuardBytes;
  starts[index] = {entry, argument};
#if defined(__SANITIZE_ADDRESS__)
  // What the frames of a thread that never returned left behind.
  __asan_unpoison_memory_region(fiber.stack, kStackBytes);
  fiber.sanitizer_stack = nullptr;
#endif
  // Tops that are a multiple of a page apart would share a few sets of the processor's cache.
  auto* top = reinterpret_cast<void**>(fiber.stack + kStackBytes - static_cast<size_t>(index % 32) * kStagger);
  top -= 2;
  *--top = nullptr;  // the return address of first_run: none; keeps the stack aligned as after a call
  *--top = reinterpret_cast<void*>(&first_run);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  fiber.stack_pointer = top;
}

void resume(Fiber& fiber) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&scheduler_sanitizer_stack, fiber.stack, kStackBytes);
#endif
  nvlm_emulator_switch(&scheduler_stack_pointer, fiber.stack_pointer);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(scheduler_sanitizer_stack, nullptr, nullptr);
#endif
}

void leave(Fiber& fiber, [[maybe_unused]] bool last) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(last ? nullptr : &fiber.sanitizer_stack, scheduler_bottom, scheduler_size);
#endif
  nvlm_emulator_switch(&fiber.stack_pointer, scheduler_stack_pointer);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fiber.sanitizer_stack, &scheduler_bottom, &scheduler_size);
#endif
}

}  // namespace nvlm::emulator
