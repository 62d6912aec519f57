// What backends_test opens in place of the CUDA library: a backend that describes two GPUs and opens neither.
// FAKE_VERSION: its interface.
#include <cstring>

#include "ops/ops.h"

namespace {

int32_t device_count() { return 2; }

void describe(int32_t device, nvlm_device_description* out) {
  *out = {};
  out->available = device == 1;
  out->memory_total = 2000;
  std::strcpy(out->name, device == 0 ? "Old GPU" : device == 1 ? "New GPU" : "");
  if (device == 0) std::strcpy(out->reason, "GPU 0 is too old. Use device: 'cpu'.");
  if (device > 1) std::strcpy(out->reason, "There is no GPU 7. Use device: 'cpu'.");
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const nvlm_backend* nvlm_cuda_backend(void) {
  static const nvlm_backend backend = [] {
    nvlm_backend b{};
    b.version = FAKE_VERSION;
    b.name = "cuda";
    b.device_count = device_count;
    b.describe = describe;
    return b;
  }();
  return &backend;
}
