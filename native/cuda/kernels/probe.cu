// Nothing but a word that tells that it ran: whether this GPU and its driver can run what this library holds shows only
// when a kernel is launched.
//
// grid: 1 | block: 1
#include "cuda/launchers.h"

namespace nvlm::gpu {
namespace {

struct ProbeArgs {
  uint32_t* word;
};

__global__ void __launch_bounds__(1) probe_kernel(const __grid_constant__ ProbeArgs a) { *a.word = kProbed; }

}  // namespace

Status enqueue_probe(uint32_t* word, Stream stream) {
  return launch(probe_kernel, {dim3(1), dim3(1), 0, stream}, ProbeArgs{word});
}

}  // namespace nvlm::gpu
