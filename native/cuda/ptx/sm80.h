// PTX of sm_80: asynchronous copies to shared memory, ldmatrix, mma.sync. Layouts: PTX ISA, "Matrix fragments for
// mma.m16n8k16".
#pragma once

#include "cuda/bf16.h"

namespace nvlm::gpu::ptx {

#ifdef NVLM_EMULATOR

__device__ __forceinline__ void copy_async(void* shared, const void* global, bool valid = true) {
  emulator::copy_async(shared, global, valid);
}
__device__ __forceinline__ void commit_copies() { emulator::commit_copies(); }
template <int pending>
__device__ __forceinline__ void wait_copies() {
  emulator::wait_copies(pending);
}
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], const void* row) {
  emulator::load_matrices(r, row, false);
}
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], const void* row) {
  emulator::load_matrices(r, row, true);
}
__device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulator::mma_bf16(d, a, b);
}
__device__ __forceinline__ uint32_t round_pair(float low, float high) { return pack(low, high); }
__device__ __forceinline__ float exp2_fast(float x) { return std::exp2(x); }
__device__ __forceinline__ float reciprocal_fast(float x) { return 1 / x; }

#else

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// 16 bytes from global to shared memory, both aligned to 16; not valid: zeros, and nothing is read. Seen by this thread
// after wait_copies, by others after a barrier behind that.
__device__ __forceinline__ void copy_async(void* shared, const void* global, bool valid = true) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
               "r"(valid ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// All but the latest `pending` groups of this thread have arrived.
template <int pending>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// Four 8x8 matrices of 16-bit elements. Lane l gives the address of row l % 8 of matrix l / 8 (16 bytes, aligned); r[i]
// holds of matrix i the elements [l / 4][2 (l % 4)] and its right neighbour; transposed: [2 (l % 4)][l / 4] and its
// lower one.
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

// d [16, 8] += a [16, 16] · b [16, 8]: bf16 factors, float32 sums. With g = lane / 4 and t = lane % 4: a[0] row g,
// columns 2t and 2t + 1; a[1] row g + 8; a[2] and a[3] the same rows, columns + 8; b[0] rows 2t and 2t + 1 of column g;
// b[1] rows + 8; d[0], d[1] row g, columns 2t and 2t + 1; d[2], d[3] row g + 8.
__device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Two floats to bf16, to nearest even: `pack` of bf16.h in one instruction.
__device__ __forceinline__ uint32_t round_pair(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

// 2^x within 2 units of the last place; -inf gives 0, and so does what would be denormal.
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// 1 / x within a unit of the last place; infinity gives 0, and so does what would be denormal.
__device__ __forceinline__ float reciprocal_fast(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

#endif

}  // namespace nvlm::gpu::ptx
