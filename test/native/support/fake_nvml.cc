// What cuda_nvml_test opens in place of NVML. Before its init, or after its shutdown, it answers nothing. FAKE_MISSING:
// the number of the function that is left out.
#include "support/fake_nvml.h"

#define FAKE_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

struct Memory {  // in the order of nvmlMemory_t
  unsigned long long total, free, used;
};
enum { success = 0, uninitialized = 1, not_found = 6 };

nvlm::test::FakeNvml fake;
int gpu;  // its address is the handle

}  // namespace

FAKE_EXPORT nvlm::test::FakeNvml* fake_nvml() { return &fake; }

#if FAKE_MISSING != 1
FAKE_EXPORT int nvmlInit_v2() {
  if (fake.init_code != success) return fake.init_code;
  ++fake.inits;
  ++fake.open;
  return success;
}
#endif

#if FAKE_MISSING != 2
FAKE_EXPORT int nvmlShutdown() {
  if (fake.open <= 0) return uninitialized;
  --fake.open;
  return success;
}
#endif

#if FAKE_MISSING != 3
FAKE_EXPORT int nvmlDeviceGetHandleByPciBusId_v2(const char* address, void** handle) {
  ++fake.questions;
  if (fake.open <= 0) return uninitialized;
  if (fake.find_code != success) return fake.find_code;
  if (address != fake.address) return not_found;
  *handle = &gpu;
  return success;
}
#endif

#if FAKE_MISSING != 4
FAKE_EXPORT int nvmlDeviceGetMemoryInfo(void* handle, Memory* memory) {
  ++fake.questions;
  if (fake.open <= 0) return uninitialized;
  if (fake.memory_code != success) return fake.memory_code;
  if (handle != &gpu) return not_found;
  *memory = {fake.total, fake.free, fake.used};
  return success;
}
#endif
