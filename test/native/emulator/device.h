// What a kernel finds in place of CUDA's headers when g++ compiles it: the words of the language, and the collectives
// as calls into the emulator. cuda/gpu.h includes this; nothing else does.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __constant__ const
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)

struct uint3 {
  uint32_t x, y, z;
};
struct dim3 {
  uint32_t x = 1, y = 1, z = 1;
  constexpr dim3(uint32_t x_ = 1, uint32_t y_ = 1, uint32_t z_ = 1) : x(x_), y(y_), z(z_) {}
};

// Loaded and stored by one instruction each on a GPU. They are copied whole, or the compiler would take them apart and
// the memory hooks see accesses of 4 bytes.
namespace nvlm::emulator {
// By two names, not a template: g++ forgets may_alias where the size hangs on a parameter, and then that these are the
// floats or bf16 which other code writes.
typedef int Whole8 __attribute__((vector_size(8), may_alias));
typedef int Whole16 __attribute__((vector_size(16), may_alias));
inline __attribute__((always_inline)) void copy_8(void* to, const void* from) {
  *static_cast<Whole8*>(to) = *static_cast<const Whole8*>(from);
}
inline __attribute__((always_inline)) void copy_16(void* to, const void* from) {
  *static_cast<Whole16*>(to) = *static_cast<const Whole16*>(from);
}

template <typename T>
struct alignas(8) Two {
  T x, y;
  Two() = default;
  constexpr Two(T x_, T y_) : x(x_), y(y_) {}
  Two(const Two& from) { copy_8(this, &from); }
  Two& operator=(const Two& from) {
    copy_8(this, &from);
    return *this;
  }
};
template <typename T>
struct alignas(16) Four {
  T x, y, z, w;
  Four() = default;
  constexpr Four(T x_, T y_, T z_, T w_) : x(x_), y(y_), z(z_), w(w_) {}
  Four(const Four& from) { copy_16(this, &from); }
  Four& operator=(const Four& from) {
    copy_16(this, &from);
    return *this;
  }
};

}  // namespace nvlm::emulator

using uint2 = nvlm::emulator::Two<uint32_t>;
using uint4 = nvlm::emulator::Four<uint32_t>;
using float2 = nvlm::emulator::Two<float>;
using float4 = nvlm::emulator::Four<float>;
constexpr uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }
constexpr uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }
constexpr float2 make_float2(float x, float y) { return {x, y}; }
constexpr float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace nvlm::emulator {

// Of the thread that runs. By value, so that instrumented kernels don't read the emulator's memory.
uint3 thread_index();
uint3 block_index();
dim3 block_dimensions();
dim3 grid_dimensions();

unsigned char* shared_base();
void* take_shared(uint32_t from, uint64_t bytes, uint32_t alignment);

void block_barrier();
void named_barrier(int id, int threads, bool wait);
void warp_barrier(uint32_t mask);
void thread_fence();
void let_next_launch_begin();
void wait_for_earlier_launches();

enum class Shuffle { index, up, down, exclusive };
uint64_t shuffle(Shuffle kind, uint32_t mask, uint64_t bits, uint32_t operand, uint32_t width);
uint32_t ballot(uint32_t mask, bool predicate);

uint32_t atomic_add(uint32_t* address, uint32_t value);
uint32_t add_acquire_release(uint32_t* address, uint32_t value);
uint4 load_streaming(const void* global);

void copy_async(void* shared, const void* global, bool valid);
void commit_copies();
void wait_copies(int pending);
void load_matrices(uint32_t (&r)[4], const void* row, bool transposed);
void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

template <typename T>
inline __attribute__((always_inline)) T shuffle_value(Shuffle kind, uint32_t mask, T value, uint32_t operand,
                                                      uint32_t width) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = shuffle(kind, mask, bits, operand, width);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace nvlm::emulator

#define threadIdx (::nvlm::emulator::thread_index())
#define blockIdx (::nvlm::emulator::block_index())
#define blockDim (::nvlm::emulator::block_dimensions())
#define gridDim (::nvlm::emulator::grid_dimensions())

inline __attribute__((always_inline)) void __syncthreads() { nvlm::emulator::block_barrier(); }
inline __attribute__((always_inline)) void __syncwarp(uint32_t mask = 0xffffffffu) {
  nvlm::emulator::warp_barrier(mask);
}
inline __attribute__((always_inline)) void __threadfence() { nvlm::emulator::thread_fence(); }
template <typename T>
inline __attribute__((always_inline)) T __shfl_sync(uint32_t mask, T value, uint32_t source, uint32_t width = 32) {
  return nvlm::emulator::shuffle_value(nvlm::emulator::Shuffle::index, mask, value, source, width);
}
template <typename T>
inline __attribute__((always_inline)) T __shfl_up_sync(uint32_t mask, T value, uint32_t distance, uint32_t width = 32) {
  return nvlm::emulator::shuffle_value(nvlm::emulator::Shuffle::up, mask, value, distance, width);
}
template <typename T>
inline __attribute__((always_inline)) T __shfl_down_sync(uint32_t mask, T value, uint32_t distance,
                                                         uint32_t width = 32) {
  return nvlm::emulator::shuffle_value(nvlm::emulator::Shuffle::down, mask, value, distance, width);
}
template <typename T>
inline __attribute__((always_inline)) T __shfl_xor_sync(uint32_t mask, T value, uint32_t lanes, uint32_t width = 32) {
  return nvlm::emulator::shuffle_value(nvlm::emulator::Shuffle::exclusive, mask, value, lanes, width);
}
inline __attribute__((always_inline)) uint32_t __ballot_sync(uint32_t mask, bool predicate) {
  return nvlm::emulator::ballot(mask, predicate);
}
inline __attribute__((always_inline)) uint32_t atomicAdd(uint32_t* address, uint32_t value) {
  return nvlm::emulator::atomic_add(address, value);
}

inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline uint32_t __float_as_uint(float x) { return std::bit_cast<uint32_t>(x); }
inline float __uint_as_float(uint32_t x) { return std::bit_cast<float>(x); }
inline int __popc(uint32_t x) { return std::popcount(x); }
inline int __ffs(uint32_t x) { return x ? std::countr_zero(x) + 1 : 0; }
inline int __clz(uint32_t x) { return std::countl_zero(x); }
inline uint32_t __umulhi(uint32_t a, uint32_t b) { return static_cast<uint32_t>(static_cast<uint64_t>(a) * b >> 32); }
__extension__ typedef unsigned __int128 nvlm_uint128;
inline uint64_t __umul64hi(uint64_t a, uint64_t b) {
  return static_cast<uint64_t>(static_cast<nvlm_uint128>(a) * b >> 64);
}
