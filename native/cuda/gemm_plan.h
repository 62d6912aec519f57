// Chooses the kernel of a product [rows, columns] = a [rows, depth] · bᵀ, b [columns, depth], and into how many parts
// its depth is split. Nothing of CUDA is in here, so that it is tested on any machine. A new kernel (another
// architecture, quantised weights) is a further row of the table in gemm_plan.cc.
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/weight_format.h"
#include "ops/ops.h"

namespace nvlm::gpu {

// A block of warps_m * warps_n warps makes m x n of the product, `k` of the depth at a time, through a ring of `stages`
// such pieces of a and b.
struct GemmTile {
  int m, n, k, warps_m, warps_n, stages;
  constexpr int threads() const { return 32 * warps_m * warps_n; }
  constexpr uint32_t stage_bytes() const { return static_cast<uint32_t>((m + n) * k * 2); }
  constexpr uint32_t ring_bytes() const { return static_cast<uint32_t>(stages) * stage_bytes(); }
  constexpr uint32_t shared_bytes() const { return ring_bytes() + 16; }  // and a word for the split's last block
};

// Warps of 64 x 64 load each shared byte for most products; smaller tiles are for products that would leave
// multiprocessors idle. Steps of 32 instead of 64 for 128x128, two blocks on any GPU: twice the barriers and addresses,
// tensor cores at 0.72 instead of 0.90 in a simulation of Hopper's machine code.
inline constexpr GemmTile kSm80_128x256{.m = 128, .n = 256, .k = 64, .warps_m = 2, .warps_n = 4, .stages = 3};
inline constexpr GemmTile kSm80_128x128{.m = 128, .n = 128, .k = 64, .warps_m = 2, .warps_n = 2, .stages = 3};
inline constexpr GemmTile kSm80_64x128{.m = 64, .n = 128, .k = 64, .warps_m = 2, .warps_n = 2, .stages = 3};
inline constexpr GemmTile kSm80_64x64{.m = 64, .n = 64, .k = 64, .warps_m = 2, .warps_n = 2, .stages = 4};
inline constexpr GemmTile kSm80_32x64{.m = 32, .n = 64, .k = 64, .warps_m = 2, .warps_n = 2, .stages = 4};
inline constexpr GemmTile kSm80_16x64{.m = 16, .n = 64, .k = 64, .warps_m = 1, .warps_n = 4, .stages = 4};

enum class GemmFunction { sm80_128x256, sm80_128x128, sm80_64x128, sm80_64x64, sm80_32x64, sm80_16x64 };

struct GemmKernel {
  const char* name;
  uint32_t ops;                        // bit `1 << op`
  int min_capability, max_capability;  // 10 * major + minor
  WeightFormat format;
  GemmTile tile;
  uint32_t shared;  // bytes of a block
  int registers;    // of a thread: what ptxas reports, rounded up to 8 as they are dealt out
  int cluster;      // blocks
  GemmFunction function;
};

struct GemmProblem {
  nvlm_op op;
  WeightFormat format;
  int64_t rows, columns, depth;  // columns: rows of the weight
};

struct GemmDevice {
  int capability, multiprocessors;
  int shared_per_block;      // bytes, with opt-in
  int64_t workspace_floats;  // for partial sums
  int32_t counters;
};

struct GemmChoice {
  const GemmKernel* kernel;  // null: none fits
  int splits;
  double clocks;  // estimated
};

struct GemmCandidate {
  GemmChoice choice;
  const char* rejection;  // null: could be taken
};

// Every row of the table for this product, in the table's order, each with the best number of splits or with the reason
// why it cannot be.
std::vector<GemmCandidate> gemm_candidates(const GemmProblem& problem, const GemmDevice& device);
GemmChoice plan_gemm(const GemmProblem& problem, const GemmDevice& device);

int64_t gemm_tiles(const GemmTile& tile, int64_t rows, int64_t columns);
int gemm_resident_blocks(const GemmKernel& kernel, const GemmDevice& device);  // of one multiprocessor
const std::vector<GemmKernel>& gemm_kernels();

// What splits can ask for, whatever is chosen, for up to so many rows. Grows with each argument.
struct GemmWorkspace {
  int64_t floats;
  int32_t counters;
};
GemmWorkspace gemm_split_workspace(const GemmDevice& device, int64_t rows, int64_t columns, int64_t depth);

}  // namespace nvlm::gpu
