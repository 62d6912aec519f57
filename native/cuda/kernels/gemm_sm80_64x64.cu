#include "cuda/kernels/gemm_sm80.cuh"
#include "cuda/ptx/sm90.h"

namespace nvlm::gpu {

struct Sm80_64x64 : Sm80<kSm80_64x64> {};

Status launch_sm80_64x64(const Product& product, Stream stream) { return launch_sm80<Sm80_64x64>(product, stream); }

}  // namespace nvlm::gpu
