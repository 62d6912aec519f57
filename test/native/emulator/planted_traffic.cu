#include "emulator/planted_traffic.h"

#include "cuda/ptx/common.h"
#include "cuda/ptx/sm80.h"

namespace nvlm::emulator {
namespace {

using namespace nvlm::gpu;

struct Args {
  const float* in;
  float* out;
};

// ---- Global memory: the store of each is 128 bytes, 4 sectors, that lie together ----

// Every eighth float: a sector for each lane, where 128 bytes fill 4.
__global__ void strided_load(const __grid_constant__ Args a) { a.out[threadIdx.x] = a.in[8 * threadIdx.x]; }

__global__ void dense_load(const __grid_constant__ Args a) { a.out[threadIdx.x] = a.in[threadIdx.x]; }

// 128 bytes that begin in the middle of a sector lie in 5.
__global__ void shifted_load(const __grid_constant__ Args a) { a.out[threadIdx.x] = a.in[threadIdx.x + 4]; }

// All lanes the same word: one sector, and no fewer for 4 bytes.
__global__ void one_word(const __grid_constant__ Args a) { a.out[threadIdx.x] = a.in[7]; }

// 16 bytes a lane: 512 in 16 sectors, in and out.
__global__ void wide_load(const __grid_constant__ Args a) {
  reinterpret_cast<uint4*>(a.out)[threadIdx.x] = reinterpret_cast<const uint4*>(a.in)[threadIdx.x];
}

// Three times around, and 8 lanes once more: 4 * 3 + 1 sectors in, as many out.
__global__ void ragged_loop(const __grid_constant__ Args a) {
  for (uint32_t i = threadIdx.x; i < 3 * 32 + 8; i += 32) a.out[i] = a.in[i];
}

// ---- Shared memory: 4 sectors in and 4 out, as above; a store and a load of the array ----

// The store meets each second bank twice.
__global__ void two_way_conflict(const __grid_constant__ Args a) {
  SharedMemory shared;
  float* values = shared.take<float>(64);
  values[2 * threadIdx.x] = a.in[threadIdx.x];
  __syncwarp();
  a.out[threadIdx.x] = values[2 * (threadIdx.x / 32)];  // one word for all: no conflict
}

__global__ void no_conflict(const __grid_constant__ Args a) {
  SharedMemory shared;
  float* values = shared.take<float>(64);
  values[threadIdx.x] = a.in[threadIdx.x];
  __syncwarp();
  a.out[threadIdx.x] = values[31 - threadIdx.x];
}

// 16 bytes a lane go by quarters of a warp: 4 passes when they lie together, 8 with as much room between them.
template <uint32_t apart>
__global__ void wide_store(const __grid_constant__ Args a) {
  SharedMemory shared;
  uint4* values = shared.take<uint4>(32 * apart);
  values[apart * threadIdx.x] = reinterpret_cast<const uint4*>(a.in)[threadIdx.x];
}

// 8 bytes a lane go by halves: 2 passes; 4 with as much room between them.
template <uint32_t apart>
__global__ void double_store(const __grid_constant__ Args a) {
  SharedMemory shared;
  uint2* values = shared.take<uint2>(32 * apart);
  values[apart * threadIdx.x] = reinterpret_cast<const uint2*>(a.in)[threadIdx.x];
}

// Four matrices of 8 rows of 16 bytes, rows `pitch` bytes apart: with 144 a pass each; with 128 all rows of a matrix
// lie in the same banks. The rows come by asynchronous copies, 16 bytes a lane.
template <uint32_t pitch>
__global__ void matrices(const __grid_constant__ Args a) {
  SharedMemory shared;
  auto* rows = shared.take<unsigned char>(32 * pitch);
  ptx::copy_async(rows + pitch * threadIdx.x, a.in + 4 * threadIdx.x);
  ptx::commit_copies();
  ptx::wait_copies<0>();
  __syncwarp();
  uint32_t r[4];
  ptx::load_matrices(r, rows + pitch * threadIdx.x);
  a.out[threadIdx.x] = __uint_as_float(r[0] ^ r[1] ^ r[2] ^ r[3]);
}

template <void (*kernel)(Args)>
Status run(const float* in, float* out, Stream stream) {
  return launch(kernel, {dim3(1), dim3(32), 8192, stream}, Args{in, out});
}

}  // namespace

std::vector<PlantedTraffic> planted_traffic() {
  const auto sectors = [](uint64_t touched, uint64_t least) { return Traffic{touched, least, 0, 0, {}}; };
  const auto passes = [](uint64_t touched, uint64_t taken, uint64_t least) {
    return Traffic{touched, touched, taken, least, {}};
  };
  return {
      {"strided_load", run<strided_load>, sectors(32 + 4, 4 + 4)},
      {"dense_load", run<dense_load>, sectors(4 + 4, 4 + 4)},
      {"shifted_load", run<shifted_load>, sectors(5 + 4, 4 + 4)},
      {"one_word", run<one_word>, sectors(1 + 4, 1 + 4)},
      {"wide_load", run<wide_load>, sectors(16 + 16, 16 + 16)},
      {"ragged_loop", run<ragged_loop>, sectors(13 + 13, 13 + 13)},
      {"two_way_conflict", run<two_way_conflict>, passes(4 + 4, 2 + 1, 1 + 1)},
      {"no_conflict", run<no_conflict>, passes(4 + 4, 1 + 1, 1 + 1)},
      {"wide_store<1>", run<wide_store<1>>, passes(16, 4, 4)},
      {"wide_store<2>", run<wide_store<2>>, passes(16, 8, 4)},
      {"double_store<1>", run<double_store<1>>, passes(8, 2, 2)},
      {"double_store<2>", run<double_store<2>>, passes(8, 4, 2)},
      {"matrices<144>", run<matrices<144>>, passes(16 + 4, 4 + 4, 4 + 4)},
      {"matrices<128>", run<matrices<128>>, passes(16 + 4, 32 + 32, 4 + 4)},
  };
}

}  // namespace nvlm::emulator
