// The emulator's library that a program opens.
#pragma once

#include <cstdlib>

namespace nvlm::test {

// The one that was built for this program, or, under sanitizers, the one that is sanitized too.
inline const char* emulator_library() {
  const char* const sanitized = std::getenv("NVLM_SANITIZED_EMULATOR");
  return sanitized ? sanitized : NVLM_EMULATOR_LIBRARY;
}

}  // namespace nvlm::test
