#include "cuda/kernels/gemm_sm80.cuh"
#include "cuda/ptx/sm90.h"

namespace nvlm::gpu {

struct Sm80_128x256 : Sm80<kSm80_128x256> {};

Status launch_sm80_128x256(const Product& product, Stream stream) { return launch_sm80<Sm80_128x256>(product, stream); }

}  // namespace nvlm::gpu
