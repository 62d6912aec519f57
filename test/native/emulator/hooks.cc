// Kernels may be compiled with -fsanitize=thread while ThreadSanitizer's runtime is not linked: then every load and
// store calls one of these. Without it nothing calls them, and `instrumented` says so.
#include "emulator/machine.h"
#include "emulator/traffic.h"

namespace {

bool seen = false;

inline void hook(const void* site, const void* address, uint64_t bytes, bool write) {
  if (nvlm::emulator::traffic_counted) nvlm::emulator::note_traffic(site, address, bytes);
  nvlm::emulator::access(address, bytes, write, nvlm::emulator::Access::plain);
}

// A GPU faults where a load or store is not aligned to its size.
inline void aligned_hook(const void* site, const void* address, uint64_t bytes, bool write) {
  if (reinterpret_cast<uintptr_t>(address) % bytes && nvlm::emulator::current) {
    nvlm::emulator::trap(
        "alignment", "an access of " + std::to_string(bytes) + " bytes at an address that is not a multiple of them");
  }
  hook(site, address, bytes, write);
}

}  // namespace

extern "C" {

void __tsan_init() { seen = true; }  // called once by every instrumented file
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

#define NVLM_HOOK(bytes)                                                                             \
  void __tsan_read##bytes(void* a) { aligned_hook(__builtin_return_address(0), a, bytes, false); }   \
  void __tsan_write##bytes(void* a) { aligned_hook(__builtin_return_address(0), a, bytes, true); }   \
  void __tsan_unaligned_read##bytes(void* a) { hook(__builtin_return_address(0), a, bytes, false); } \
  void __tsan_unaligned_write##bytes(void* a) { hook(__builtin_return_address(0), a, bytes, true); } \
  void __tsan_volatile_read##bytes(void* a) { hook(__builtin_return_address(0), a, bytes, false); }  \
  void __tsan_volatile_write##bytes(void* a) { hook(__builtin_return_address(0), a, bytes, true); }
NVLM_HOOK(1)
NVLM_HOOK(2)
NVLM_HOOK(4)
NVLM_HOOK(8)
NVLM_HOOK(16)
#undef NVLM_HOOK
void __tsan_read_range(void* a, unsigned long bytes) { hook(__builtin_return_address(0), a, bytes, false); }
void __tsan_write_range(void* a, unsigned long bytes) { hook(__builtin_return_address(0), a, bytes, true); }

// Function-local statics of the host code take these.
unsigned char __tsan_atomic8_load(const volatile unsigned char* a, int) { return __atomic_load_n(a, __ATOMIC_SEQ_CST); }
unsigned __tsan_atomic32_load(const volatile unsigned* a, int) { return __atomic_load_n(a, __ATOMIC_SEQ_CST); }
unsigned long __tsan_atomic64_load(const volatile unsigned long* a, int) {
  return __atomic_load_n(a, __ATOMIC_SEQ_CST);
}
void __tsan_atomic32_store(volatile unsigned* a, unsigned v, int) { __atomic_store_n(a, v, __ATOMIC_SEQ_CST); }
unsigned __tsan_atomic32_fetch_add(volatile unsigned* a, unsigned v, int) {
  return __atomic_fetch_add(a, v, __ATOMIC_SEQ_CST);
}
unsigned __tsan_atomic32_fetch_sub(volatile unsigned* a, unsigned v, int) {
  return __atomic_fetch_sub(a, v, __ATOMIC_SEQ_CST);
}
void __tsan_atomic_thread_fence(int) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

}  // extern "C"

namespace nvlm::emulator {

bool instrumented() { return seen; }

}  // namespace nvlm::emulator
