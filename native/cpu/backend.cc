// The CPU backend: kernels of the chosen instruction set on the shared thread pool.
#include <algorithm>
#include <cstdlib>
#include <exception>

#include "cpu/kernels.h"
#include "host/backend.h"
#include "platform/memory.h"
#include "platform/thread_pool.h"

namespace nvlm::cpu {
namespace {

struct PoolShare {
  std::shared_ptr<ThreadPool> pool;
  int threads;
};

void parallel_for(void* share, int64_t count, const std::function<void(int64_t, int)>& body) {
  const auto* s = static_cast<PoolShare*>(share);
  s->pool->run(count, s->threads, body);
}

void release(void* share) { delete static_cast<PoolShare*>(share); }

nvlm_status open(const nvlm_open_options* options, nvlm_device** device) {
  try {
    const char* forced = std::getenv("NVLM_CPU_SET");
    std::string reason;
    const host::Kernels* kernels = choose_kernels(options->instruction_set ? options->instruction_set
                                                  : forced                 ? forced
                                                                           : "",
                                                  reason);
    if (!kernels) {
      host::set_open_error(reason.c_str());
      return NVLM_UNSUPPORTED;
    }
    const int threads = options->threads > 0 ? options->threads : usable_cpus();
    auto share = std::make_unique<PoolShare>(PoolShare{ThreadPool::acquire(threads), threads});
    const nvlm_status status =
        host::open_device(*kernels, "cpu", {parallel_for, share.get(), threads}, release, device);
    if (status == NVLM_OK) share.release();  // the device owns it now
    return status;
  } catch (const std::exception& error) {
    host::set_open_error(("The CPU could not be set up (" + std::string(error.what()) +
                          "). Raise the limits on threads and memory, or close other programs.")
                             .c_str());
    return NVLM_DEVICE_FAILED;
  }
}

}  // namespace
}  // namespace nvlm::cpu

const nvlm_backend* nvlm_cpu_backend(void) {
  static const nvlm_backend backend = [] {
    nvlm_backend b = nvlm::host::backend_table();
    b.name = "cpu";
    b.open = nvlm::cpu::open;
    return b;
  }();
  return &backend;
}
