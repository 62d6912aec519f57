#include "cuda/kernels/gemm_sm80.cuh"
#include "cuda/ptx/sm90.h"

namespace nvlm::gpu {

struct Sm80_32x64 : Sm80<kSm80_32x64> {};

Status launch_sm80_32x64(const Product& product, Stream stream) { return launch_sm80<Sm80_32x64>(product, stream); }

}  // namespace nvlm::gpu
