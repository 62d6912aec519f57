// A small kernel for each wrapper of native/cuda/ptx, on seeded random data. The same source runs on a GPU and in the
// emulator (support/ptx_values.h).
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "cuda/bf16.h"
#include "cuda/gpu.h"
#include "cuda/ptx/common.h"
#include "cuda/ptx/sm80.h"
#include "cuda/ptx/sm90.h"
#include "support/ptx_values.h"
#include "support/split_mix.h"

namespace nvlm::test {
namespace {

using namespace nvlm::gpu;

constexpr uint32_t kThreads = 128;
constexpr uint32_t kBlocks = 24;
constexpr uint32_t kRow = 24;  // 16-bit elements from one row of an 8x8 matrix to the next: 16-byte rows, no bank twice

struct Args {
  const uint32_t* in;
  uint32_t* out;
  uint32_t* scratch;  // all zero
};

__device__ __forceinline__ uint4 piece(const uint32_t* words, uint32_t i) {
  return reinterpret_cast<const uint4*>(words)[i];
}
__device__ __forceinline__ void put_piece(uint32_t* words, uint32_t i, uint4 value) {
  reinterpret_cast<uint4*>(words)[i] = value;
}

// ---- ptx/common.h ----

__global__ void __launch_bounds__(kThreads) streaming_kernel(const __grid_constant__ Args a) {
  ptx::prefetch_l2(a.in + 4 * threadIdx.x);
  put_piece(a.out, threadIdx.x, ptx::load_streaming(a.in + 4 * (threadIdx.x * 37 % kThreads)));
}

// Warps 0 and 1 write and go on; 2 and 3 wait for them. Then each half meets alone, at a barrier of its own.
__global__ void __launch_bounds__(kThreads) barriers_kernel(const __grid_constant__ Args a) {
  SharedMemory shared;
  uint32_t* given = shared.take<uint32_t>(64);
  uint32_t* halves = shared.take<uint32_t>(kThreads);
  const uint32_t half = threadIdx.x / 64, other = half * 64 + 63 - threadIdx.x % 64;
  uint32_t seen = 0;
  if (half == 0) {
    given[threadIdx.x] = a.in[threadIdx.x];
    ptx::arrive(1, kThreads);
  } else {
    ptx::barrier(1, kThreads);
    seen = given[other - 64];
  }
  halves[threadIdx.x] = a.in[threadIdx.x] ^ seen;
  ptx::barrier(2 + static_cast<int>(half), 64);
  a.out[threadIdx.x] = halves[other];
}

// Every block writes a row; whoever counts last reads them all.
__global__ void __launch_bounds__(kThreads) counter_kernel(const __grid_constant__ Args a) {
  SharedMemory shared;
  uint32_t* last = shared.take<uint32_t>(4);
  uint32_t* rows = a.scratch + 4;
  rows[blockIdx.x * kThreads + threadIdx.x] = a.in[blockIdx.x * kThreads + threadIdx.x];
  __syncthreads();  // the block's row is written before its thread 0 releases it
  if (threadIdx.x == 0) {
    const uint32_t before = ptx::add_acquire_release(a.scratch, 1);
    a.out[kThreads + before] = before + 1;  // each number once
    *last = before + 1 == kBlocks;
  }
  __syncthreads();  // `last` is there, and what thread 0 acquired
  if (!*last) return;
  uint32_t sum = 0;
  for (uint32_t block = 0; block < kBlocks; ++block) sum = sum * 3 + rows[block * kThreads + threadIdx.x];
  a.out[threadIdx.x] = sum;
}

// ---- ptx/sm90.h ----

// A walk through the input keeps every thread from its store for a while; the next launch begins meanwhile, and reads
// what others stored.
__global__ void __launch_bounds__(kThreads) walk_kernel(const __grid_constant__ Args a) {
  ptx::let_next_launch_begin();
  const uint32_t thread = blockIdx.x * kThreads + threadIdx.x;
  uint32_t at = thread;
  for (int step = 0; step < 64; ++step) at = a.in[at] % (kBlocks * kThreads);
  a.scratch[thread] = at;
}
__global__ void __launch_bounds__(kThreads) read_walks_kernel(const __grid_constant__ Args a) {
  ptx::wait_for_earlier_launches();
  const uint32_t thread = blockIdx.x * kThreads + threadIdx.x;
  a.out[thread] = a.scratch[kBlocks * kThreads - 1 - thread];
}

// ---- ptx/sm80.h ----

// Two groups of copies; every third is not valid and leaves zeros. The first is read by its own thread after
// wait_copies<1>, the second by others.
__global__ void __launch_bounds__(kThreads) copies_kernel(const __grid_constant__ Args a) {
  SharedMemory shared;
  uint32_t* first = shared.take<uint32_t>(4 * kThreads);
  uint32_t* second = shared.take<uint32_t>(4 * kThreads);
  const uint32_t t = threadIdx.x;
  ptx::copy_async(first + 4 * t, a.in + 4 * t, t % 3 != 0);
  ptx::commit_copies();
  ptx::copy_async(second + 4 * t, a.in + 4 * (kThreads + t), t % 3 != 1);
  ptx::commit_copies();
  ptx::wait_copies<1>();
  put_piece(a.out, t, piece(first, t));
  ptx::wait_copies<0>();
  __syncthreads();  // all threads' copies have arrived
  put_piece(a.out, kThreads + t, piece(second, kThreads - 1 - t));
}

template <bool transposed>
__global__ void __launch_bounds__(32) matrices_kernel(const __grid_constant__ Args a) {
  SharedMemory shared;
  uint32_t* matrices = shared.take<uint32_t>(32 * kRow / 2);
  uint32_t* row = matrices + threadIdx.x * (kRow / 2);
  for (uint32_t i = 0; i < 4; ++i) row[i] = a.in[4 * threadIdx.x + i];
  __syncwarp();  // the rows of all lanes are written
  uint32_t r[4];
  if (transposed) {
    ptx::load_matrices_transposed(r, row);
  } else {
    ptx::load_matrices(r, row);
  }
  for (uint32_t i = 0; i < 4; ++i) a.out[4 * threadIdx.x + i] = r[i];
}

// A warp a block; a lane's words: 4 of a, 2 of b, 4 of d.
__global__ void __launch_bounds__(32) mma_kernel(const __grid_constant__ Args a) {
  const uint32_t lane = blockIdx.x * 32 + threadIdx.x;
  uint32_t factors_a[4], factors_b[2];
  float d[4];
  for (uint32_t i = 0; i < 4; ++i) factors_a[i] = a.in[10 * lane + i];
  for (uint32_t i = 0; i < 2; ++i) factors_b[i] = a.in[10 * lane + 4 + i];
  for (uint32_t i = 0; i < 4; ++i) d[i] = __uint_as_float(a.in[10 * lane + 6 + i]);
  ptx::mma(d, factors_a, factors_b);
  for (uint32_t i = 0; i < 4; ++i) a.out[4 * lane + i] = __float_as_uint(d[i]);
}

__global__ void __launch_bounds__(kThreads) round_kernel(const __grid_constant__ Args a) {
  const uint32_t i = blockIdx.x * kThreads + threadIdx.x;
  a.out[i] = ptx::round_pair(__uint_as_float(a.in[2 * i]), __uint_as_float(a.in[2 * i + 1]));
}

__global__ void __launch_bounds__(kThreads) exp2_kernel(const __grid_constant__ Args a) {
  const uint32_t i = blockIdx.x * kThreads + threadIdx.x;
  a.out[i] = __float_as_uint(ptx::exp2_fast(__uint_as_float(a.in[i])));
}

__global__ void __launch_bounds__(kThreads) reciprocal_kernel(const __grid_constant__ Args a) {
  const uint32_t i = blockIdx.x * kThreads + threadIdx.x;
  a.out[i] = __float_as_uint(ptx::reciprocal_fast(__uint_as_float(a.in[i])));
}

// ---- Data ----

class Words : SplitMix64 {
 public:
  using SplitMix64::SplitMix64;
  uint32_t word() { return static_cast<uint32_t>(bits() >> 32); }
  std::vector<uint32_t> words(size_t count) {
    std::vector<uint32_t> all(count);
    for (uint32_t& w : all) w = word();
    return all;
  }
  float uniform(float low, float high) { return low + (high - low) * static_cast<float>(word() >> 8) * 0x1p-24f; }
};

uint32_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

std::vector<uint32_t> mma_operands(Words& random, uint32_t warps) {
  std::vector<uint32_t> in;
  for (uint32_t lane = 0; lane < 32 * warps; ++lane) {
    for (int i = 0; i < 6; ++i) in.push_back(pack(random.uniform(-2, 2), random.uniform(-2, 2)));
    for (int i = 0; i < 4; ++i) in.push_back(bits_of(random.uniform(-4, 4)));
  }
  return in;
}

std::vector<uint32_t> floats_to_round(Words& random, size_t count) {
  // Ties, and beside them.
  std::vector<uint32_t> in = {0x00000000u, 0x80000000u, 0x3f808000u, 0x3f818000u, 0xbf808000u, 0xbf818000u,
                              0x3f808001u, 0x3f807fffu, 0x7f7fffffu, 0xff7fffffu, 0x7f800000u, 0xff800000u,
                              0x00008000u, 0x00018000u, 0x007fffffu, 0x80000001u};
  in.push_back(0x7fc00000u);
  in.push_back(0xffc12345u);
  // Random bits, and ties.
  while (in.size() < count) in.push_back(in.size() % 2 ? random.word() : (random.word() & 0xffff0000u) | 0x8000u);
  return in;
}

std::vector<uint32_t> exponents(Words& random, size_t count) {
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<uint32_t> in;
  for (const float x : {0.0f, -0.0f, 1.0f, -1.0f, 127.0f, 127.99999f, 128.0f, -126.0f, -126.5f, -149.0f, -200.0f,
                        1e-30f, -1e-30f, infinity, -infinity})
    in.push_back(bits_of(x));
  while (in.size() < count) in.push_back(bits_of(in.size() % 2 ? random.uniform(-20, 0) : random.uniform(-126, 128)));
  return in;
}

std::vector<uint32_t> divisors(Words& random, size_t count) {
  std::vector<uint32_t> in;
  for (const float x : {1.0f, 2.0f, 3.0f, 0x1p-126f, 0x1p126f, 0x1p127f, std::numeric_limits<float>::max(),
                        std::numeric_limits<float>::infinity()})
    in.push_back(bits_of(x));
  while (in.size() < count)
    in.push_back(bits_of(in.size() % 2 ? random.uniform(1, 2) : std::exp2(random.uniform(-126, 128))));
  return in;
}

// ---- Running ----

void expect(Status status, const std::string& name) {
  if (status != Status::ok) throw std::runtime_error(name + ": " + message());
}

// `behind`: launched as dependent behind the kernel, if any.
PtxValues run_values(const std::string& name, PtxValues::Kind kind, void (*kernel)(Args), uint32_t blocks,
                     uint32_t threads, uint32_t shared, std::vector<uint32_t> in, size_t out_words,
                     void (*behind)(Args) = nullptr) {
  PtxValues values{name, kind, std::move(in), std::vector<uint32_t>(out_words), {}};
  constexpr uint64_t kScratch = (kBlocks * kThreads + 4) * sizeof(uint32_t);
  const uint64_t in_bytes = values.in.size() * sizeof(uint32_t), out_bytes = out_words * sizeof(uint32_t);
  Stream stream = nullptr;
  void *pinned = nullptr, *from = nullptr, *to = nullptr, *scratch = nullptr;
  expect(create_stream(&stream), name);
  expect(alloc_pinned(&pinned, in_bytes + out_bytes), name);
  expect(alloc(&from, in_bytes, stream), name);
  expect(alloc(&to, out_bytes, stream), name);
  expect(alloc(&scratch, kScratch, stream), name);
  std::memcpy(pinned, values.in.data(), in_bytes);
  expect(copy_to_device(from, pinned, in_bytes, stream), name);
  expect(fill(to, 0xa5, out_bytes, stream), name);
  expect(fill(scratch, 0, kScratch, stream), name);
  const Args args{static_cast<const uint32_t*>(from), static_cast<uint32_t*>(to), static_cast<uint32_t*>(scratch)};
  expect(launch(kernel, {dim3(blocks), dim3(threads), shared, stream}, args), name);
  if (behind) expect(launch(behind, {dim3(blocks), dim3(threads), shared, stream, kDependent}, args), name);
  unsigned char* back = static_cast<unsigned char*>(pinned) + in_bytes;
  expect(copy_to_host(back, to, out_bytes, stream), name);
  expect(wait(stream), name);
  std::memcpy(values.out.data(), back, out_bytes);
  for (void* memory : {from, to, scratch}) expect(gpu::free(memory, stream), name);
  expect(wait(stream), name);
  expect(free_pinned(pinned), name);
  expect(destroy_stream(stream), name);
  return values;
}

}  // namespace

std::vector<PtxValues> ptx_values(uint64_t seed) {
  Words random(seed);
  std::vector<PtxValues> all;
  constexpr uint32_t kWarps = 32, kRoundBlocks = 32;
  all.push_back(run_values("load_streaming", PtxValues::bits, streaming_kernel, 1, kThreads, 0,
                           random.words(4 * kThreads), 4 * kThreads));
  all.push_back(
      run_values("barrier", PtxValues::bits, barriers_kernel, 1, kThreads, 1024, random.words(kThreads), kThreads));
  all.push_back(run_values("add_acquire_release", PtxValues::bits, counter_kernel, kBlocks, kThreads, 64,
                           random.words(kBlocks * kThreads), kThreads + kBlocks));
  all.push_back(run_values("wait_for_earlier_launches", PtxValues::bits, walk_kernel, kBlocks, kThreads, 0,
                           random.words(kBlocks * kThreads), kBlocks * kThreads, read_walks_kernel));
  all.push_back(run_values("copy_async", PtxValues::bits, copies_kernel, 1, kThreads, 2 * 16 * kThreads,
                           random.words(8 * kThreads), 8 * kThreads));
  all.push_back(run_values("load_matrices", PtxValues::bits, matrices_kernel<false>, 1, 32, 32 * kRow * 2,
                           random.words(4 * 32), 4 * 32));
  all.push_back(run_values("load_matrices_transposed", PtxValues::bits, matrices_kernel<true>, 1, 32, 32 * kRow * 2,
                           random.words(4 * 32), 4 * 32));
  all.push_back(
      run_values("mma", PtxValues::sums, mma_kernel, kWarps, 32, 0, mma_operands(random, kWarps), 4 * 32 * kWarps));
  all.push_back(run_values("round_pair", PtxValues::pairs, round_kernel, kRoundBlocks, kThreads, 0,
                           floats_to_round(random, 2 * kRoundBlocks * kThreads), kRoundBlocks * kThreads));
  all.push_back(run_values("exp2_fast", PtxValues::close, exp2_kernel, kRoundBlocks, kThreads, 0,
                           exponents(random, kRoundBlocks * kThreads), kRoundBlocks * kThreads));
  all.push_back(run_values("reciprocal_fast", PtxValues::close, reciprocal_kernel, kRoundBlocks, kThreads, 0,
                           divisors(random, kRoundBlocks * kThreads), kRoundBlocks * kThreads));
  return all;
}

}  // namespace nvlm::test
