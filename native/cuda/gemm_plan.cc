#include "cuda/gemm_plan.h"

#include <algorithm>

#include "ops/op_info.h"

namespace nvlm::gpu {
namespace {

constexpr uint32_t bit(nvlm_op op) { return uint32_t{1} << op; }
// And the product inside a patch embedding.
constexpr uint32_t kProducts = [] {
  uint32_t ops = bit(NVLM_PATCH_EMBED);
  for (int op = 0; op < NVLM_OP_COUNT; ++op) {
    if (is_product(static_cast<nvlm_op>(op))) ops |= bit(static_cast<nvlm_op>(op));
  }
  return ops;
}();
constexpr int kNewest = 1000;

GemmKernel sm80(const char* name, const GemmTile& tile, int registers, GemmFunction function) {
  return {.name = name,
          .ops = kProducts,
          .min_capability = 80,
          .max_capability = kNewest,
          .format = WeightFormat::bf16,
          .tile = tile,
          .shared = tile.shared_bytes(),
          .registers = registers,
          .cluster = 1,
          .function = function};
}

// ---- What a multiprocessor does in a clock; only the ratios matter. ----
// Bytes: shared memory 128; L2 and DRAM as A100 and H100 give each multiprocessor when all ask.
constexpr double kSharedBytes = 128, kL2Bytes = 40, kDramBytes = 16;
// Multiply-adds of mma.sync m16n8k16 (2048) by 4 tensor cores: one each 8 clocks on 8.0, 6 on 9.0 and 10.0 as ptxas
// spaces them (wgmma: 4), 16 on the others.
double products_per_clock(int capability) {
  return 4.0 * 2048 / (capability == 80 ? 8 : capability >= 90 && capability < 120 ? 6 : 16);
}
constexpr double kLatency = 2000;   // of a copy when DRAM gives all it has: 32 KB on their way keep it busy
constexpr double kStart = 1500;     // of a block: launch, first stage
constexpr double kHandOver = 2500;  // of a split tile: partials out, the counter, partials in

constexpr int kMaxSplits = 16;
constexpr int64_t kMinSplitSteps = 2;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Clocks an element for the epilogue of one lane: loads, rounding, and what the op adds.
double finish_clocks(nvlm_op op) { return op == NVLM_LINEAR_GELU ? 22 : op == NVLM_LINEAR_SWIGLU ? 18 : 12; }

double clocks(const GemmKernel& kernel, const GemmProblem& p, const GemmDevice& device, int splits) {
  const GemmTile& t = kernel.tile;
  const int64_t blocks = gemm_tiles(t, p.rows, p.columns) * splits, each = ceil_div(blocks, device.multiprocessors);
  const int64_t resident = std::min<int64_t>(each, gemm_resident_blocks(kernel, device)),
                waves = ceil_div(each, resident);
  const double steps = static_cast<double>(ceil_div(ceil_div(p.depth, t.k), splits)),
               all_steps = static_cast<double>(each) * steps;

  // Four things that go on at once: the slowest counts, and a quarter of the others, since none overlaps wholly.
  const double tensor = all_steps * t.m * t.n * t.k / products_per_clock(device.capability);
  const double fragments = t.threads() / 32.0 * (t.m / t.warps_m + t.n / t.warps_n) * t.k * 2;
  const double shared = all_steps * (fragments + t.stage_bytes()) / kSharedBytes;
  const double l2 = all_steps * t.stage_bytes() / kL2Bytes;
  const double dram = 2.0 * static_cast<double>((p.rows + p.columns) * p.depth) / (kDramBytes * device.multiprocessors);
  const double slowest = std::max({tensor, shared, l2, dram});
  const double flow = slowest + (tensor + shared + l2 + dram - slowest) / 4;
  const double latency = static_cast<double>(waves) * steps * kLatency / (t.stages - 1);

  // One block's start and end are hidden by another's products, if there is one.
  const double end = t.m * t.n * finish_clocks(p.op) / 128;
  const double edges =
      static_cast<double>(each) * end / static_cast<double>(resident) + static_cast<double>(waves) * kStart;
  const double split = splits == 1 ? 0 : kHandOver + (splits + 1.0) * t.m * t.n * 4 / kL2Bytes;
  return std::max(flow, latency) + edges + split;
}

const char* rejection(const GemmKernel& kernel, const GemmProblem& problem, const GemmDevice& device) {
  if (!(kernel.ops & bit(problem.op))) return "does not compute this op";
  if (kernel.format != problem.format) return "is for another weight format";
  if (device.capability < kernel.min_capability) return "needs a newer GPU";
  if (device.capability > kernel.max_capability) return "uses instructions that this GPU no longer has";
  if (kernel.shared > static_cast<uint32_t>(device.shared_per_block))
    return "needs more shared memory than a block of this GPU can have";
  return nullptr;
}

GemmChoice best_splits(const GemmKernel& kernel, const GemmProblem& problem, const GemmDevice& device) {
  const GemmTile& t = kernel.tile;
  const int64_t tiles = gemm_tiles(t, problem.rows, problem.columns), steps = ceil_div(problem.depth, t.k);
  const int64_t slots = int64_t{device.multiprocessors} * gemm_resident_blocks(kernel, device);
  GemmChoice best{&kernel, 1, clocks(kernel, problem, device, 1)};
  if (tiles > device.counters) return best;
  for (int splits = 2; splits <= kMaxSplits; ++splits) {
    // Splits fill one wave; more would only add partial sums.
    if (tiles * splits > slots || splits * kMinSplitSteps > steps ||
        tiles * splits * t.m * t.n > device.workspace_floats)
      break;
    const double c = clocks(kernel, problem, device, splits);
    if (c < best.clocks) best = {&kernel, splits, c};
  }
  return best;
}

}  // namespace

const std::vector<GemmKernel>& gemm_kernels() {
  static const std::vector<GemmKernel> kernels = {
      sm80("gemm_sm80_128x256", kSm80_128x256, 256, GemmFunction::sm80_128x256),
      sm80("gemm_sm80_128x128", kSm80_128x128, 256, GemmFunction::sm80_128x128),
      sm80("gemm_sm80_64x128", kSm80_64x128, 168, GemmFunction::sm80_64x128),
      sm80("gemm_sm80_64x64", kSm80_64x64, 112, GemmFunction::sm80_64x64),
      sm80("gemm_sm80_32x64", kSm80_32x64, 80, GemmFunction::sm80_32x64),
      sm80("gemm_sm80_16x64", kSm80_16x64, 64, GemmFunction::sm80_16x64),
  };
  return kernels;
}

int64_t gemm_tiles(const GemmTile& tile, int64_t rows, int64_t columns) {
  return ceil_div(rows, tile.m) * ceil_div(columns, tile.n);
}

int gemm_resident_blocks(const GemmKernel& kernel, const GemmDevice& device) {
  // A multiprocessor has 1 KB more than a block can take, and keeps 1 KB of each block for itself; 65,536 registers.
  const int by_shared = (device.shared_per_block + 1024) / (static_cast<int>(kernel.shared) + 1024);
  const int by_registers = 65536 / (kernel.registers * kernel.tile.threads());
  return std::max(1, std::min(by_shared, by_registers));
}

std::vector<GemmCandidate> gemm_candidates(const GemmProblem& problem, const GemmDevice& device) {
  std::vector<GemmCandidate> candidates;
  for (const GemmKernel& kernel : gemm_kernels()) {
    const char* reason = rejection(kernel, problem, device);
    candidates.push_back({reason ? GemmChoice{&kernel, 0, 0} : best_splits(kernel, problem, device), reason});
  }
  return candidates;
}

GemmChoice plan_gemm(const GemmProblem& problem, const GemmDevice& device) {
  GemmChoice best{};
  for (const GemmCandidate& candidate : gemm_candidates(problem, device)) {
    if (!candidate.rejection && (!best.kernel || candidate.choice.clocks < best.clocks)) best = candidate.choice;
  }
  return best;
}

GemmWorkspace gemm_split_workspace(const GemmDevice& device, int64_t rows, int64_t columns, int64_t depth) {
  GemmWorkspace need{0, 0};
  for (const GemmKernel& kernel : gemm_kernels()) {
    const GemmTile& t = kernel.tile;
    const int64_t slots = int64_t{device.multiprocessors} * gemm_resident_blocks(kernel, device);
    const int64_t splits = std::min<int64_t>(kMaxSplits, ceil_div(depth, t.k) / kMinSplitSteps);
    if (splits < 2) continue;
    const int64_t tiles = gemm_tiles(t, rows, columns), parts = std::min(tiles * splits, slots);
    need.floats = std::max(need.floats, parts * t.m * t.n);
    need.counters = std::max(need.counters, static_cast<int32_t>(std::min(tiles, slots / 2)));
  }
  return need;
}

}  // namespace nvlm::gpu
