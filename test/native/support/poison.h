// Memory that nobody may touch, where a program runs under AddressSanitizer; elsewhere these do nothing. Asked for at
// run time, so that the same object serves both.
#pragma once

#include <cstddef>

extern "C" {
void __asan_poison_memory_region(const volatile void*, std::size_t) __attribute__((weak));
void __asan_unpoison_memory_region(const volatile void*, std::size_t) __attribute__((weak));
}

namespace nvlm::test {

inline void poison(const void* begin, std::size_t bytes) {
  if (__asan_poison_memory_region) __asan_poison_memory_region(begin, bytes);
}
inline void unpoison(const void* begin, std::size_t bytes) {
  if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(begin, bytes);
}

}  // namespace nvlm::test
