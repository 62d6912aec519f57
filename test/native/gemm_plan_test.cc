// Which kernel a product gets, and into how many parts its depth is split. What could break: a block that does not fit
// the device's shared memory; a kernel for another architecture, op or weight format; splits beyond the workspace; few
// rows on a large tile, many rows on a small one.
#include <algorithm>
#include <cstring>
#include <string>

#include "cuda/gemm_plan.h"
#include "support/check.h"

using namespace nvlm;
using namespace nvlm::gpu;

namespace {

constexpr GemmDevice kA100{.capability = 80,
                           .multiprocessors = 108,
                           .shared_per_block = 163 * 1024,
                           .workspace_floats = int64_t{1} << 24,
                           .counters = 4096};
constexpr GemmDevice kAda{.capability = 89,
                          .multiprocessors = 128,
                          .shared_per_block = 99 * 1024,
                          .workspace_floats = int64_t{1} << 24,
                          .counters = 4096};
constexpr GemmDevice kHopper{.capability = 90,
                             .multiprocessors = 132,
                             .shared_per_block = 227 * 1024,
                             .workspace_floats = int64_t{1} << 24,
                             .counters = 4096};
constexpr GemmDevice kDevices[] = {kA100, kAda, kHopper};

GemmProblem problem(nvlm_op op, int64_t rows, int64_t columns, int64_t depth) {
  return {op, WeightFormat::bf16, rows, columns, depth};
}

std::string name(const GemmProblem& p, const GemmDevice& device) {
  const GemmChoice choice = plan_gemm(p, device);
  return choice.kernel ? choice.kernel->name : "none";
}

std::string words(const GemmProblem& p, const GemmDevice& d) {
  return std::to_string(p.rows) + " x " + std::to_string(p.columns) + " x " + std::to_string(p.depth) + " on " +
         std::to_string(d.capability);
}

// Products of the models that matter: 0.5B, 7B, 72B decoders, the two encoders.
const GemmProblem kProblems[] = {
    problem(NVLM_LINEAR, 1, 8, 8),
    problem(NVLM_LINEAR, 5, 1152, 896),
    problem(NVLM_LINEAR_SWIGLU, 16, 9728, 896),
    problem(NVLM_LINEAR_RESIDUAL, 16, 896, 4864),
    problem(NVLM_LINEAR, 8, 10240, 8192),
    problem(NVLM_LINEAR_RESIDUAL, 8, 8192, 29568),
    problem(NVLM_LINEAR, 1850, 10240, 8192),
    problem(NVLM_LINEAR_SWIGLU, 1850, 59136, 8192),
    problem(NVLM_LINEAR, 7175, 3072, 1024),
    problem(NVLM_LINEAR_GELU, 7175, 4096, 1024),
    problem(NVLM_LINEAR_GELU, 7175, 12800, 3200),
    problem(NVLM_LINEAR, 4096, 4096, 4096),
    problem(NVLM_LINEAR_RESIDUAL, 7175, 1024, 1024),
    problem(NVLM_LINEAR_RESIDUAL, 7175, 1024, 4096),
    problem(NVLM_LINEAR, 7175, 9600, 3200),
    problem(NVLM_LINEAR_RESIDUAL, 7175, 3200, 3200),
    problem(NVLM_LINEAR_RESIDUAL, 7175, 3200, 12800),
    problem(NVLM_LINEAR, 1024, 4608, 3584),
    problem(NVLM_LINEAR_SWIGLU, 1024, 37888, 3584),
    problem(NVLM_LINEAR_RESIDUAL, 1024, 3584, 18944),
    problem(NVLM_LOGITS, 5, 152064, 8192),
    problem(NVLM_PATCH_EMBED, 7168, 1024, 592),
    problem(NVLM_LINEAR, 70, 4608, 3584),
    problem(NVLM_LINEAR, 300, 896, 896),
};

void shared_memory() {
  for (const GemmDevice& device : kDevices) {
    for (const GemmProblem& p : kProblems) {
      const GemmChoice choice = plan_gemm(p, device);
      if (!test::check(choice.kernel != nullptr, "no kernel for " + words(p, device))) continue;
      test::check(choice.kernel->shared <= uint32_t(device.shared_per_block),
                  std::string(choice.kernel->name) + " does not fit, " + words(p, device));
    }
    for (const GemmCandidate& c : gemm_candidates(kProblems[0], device)) {
      const bool fits = c.choice.kernel->shared <= uint32_t(device.shared_per_block);
      test::check(fits == (c.rejection == nullptr),
                  std::string(c.choice.kernel->name) + " on " + std::to_string(device.capability));
      if (!fits)
        test::check(std::strstr(c.rejection, "shared memory") != nullptr,
                    std::string("the reason is another: ") + c.rejection);
    }
  }
  // 144 KB: on 163 and 227 KB, not on 99.
  const auto largest = [](const GemmDevice& d) { return gemm_candidates(kProblems[0], d)[0].rejection; };
  test::check(largest(kA100) == nullptr && largest(kHopper) == nullptr && largest(kAda) != nullptr,
              "where the 128x256 tile fits");
}

void rejections() {
  const auto all = [](const GemmProblem& p, const GemmDevice& d, const char* why) {
    for (const GemmCandidate& c : gemm_candidates(p, d)) {
      test::check(c.rejection && std::strstr(c.rejection, why), std::string(c.choice.kernel->name) + ": expected '" +
                                                                    why + "' but got '" +
                                                                    (c.rejection ? c.rejection : "nothing") + "'");
    }
    test::check(plan_gemm(p, d).kernel == nullptr, "a kernel is chosen where none fits");
  };
  GemmDevice old = kA100;
  old.capability = 75;
  all(kProblems[0], old, "newer GPU");
  all(problem(NVLM_ATTENTION, 8, 8, 8), kA100, "this op");
  GemmProblem other = kProblems[0];
  other.format = static_cast<WeightFormat>(99);
  all(other, kA100, "weight format");
  GemmDevice small = kA100;
  small.shared_per_block = 16 * 1024;
  all(kProblems[0], small, "shared memory");
}

void table() {
  for (const GemmKernel& k : gemm_kernels()) {
    const GemmTile& t = k.tile;
    test::check(k.shared == t.shared_bytes() && t.stages >= 3 && k.cluster == 1 && k.min_capability == 80, k.name);
    test::check(t.m * t.n * 4 <= int(t.ring_bytes()), std::string(k.name) + ": the ring cannot hold the tile");
    test::check(k.registers * t.threads() <= 65536 && k.registers <= 256, std::string(k.name) + ": registers");
    test::equal(int(std::count_if(gemm_kernels().begin(), gemm_kernels().end(),
                                  [&](const GemmKernel& o) { return o.function == k.function; })),
                1, std::string(k.name) + ": rows with its function");
  }
  test::equal(gemm_tiles(kSm80_64x64, 65, 128), int64_t{4}, "tiles");
  test::equal(gemm_resident_blocks(gemm_kernels()[0], kHopper), 1, "resident 128x256 blocks");
  test::equal(gemm_resident_blocks(gemm_kernels()[1], kHopper), 2, "resident 128x128 blocks");
  test::equal(gemm_resident_blocks(gemm_kernels()[1], kA100), 1, "resident 128x128 blocks with 163 KB");
  test::equal(gemm_resident_blocks(gemm_kernels()[1], kAda), 1, "resident 128x128 blocks with 99 KB");
}

void sizes() {
  for (const GemmDevice& device : kDevices) {
    for (int64_t rows = 5; rows <= 16; ++rows) {
      for (const int64_t columns : {896, 4608, 8192, 59136}) {
        for (const int64_t depth : {896, 3584, 8192, 29568}) {
          const GemmProblem p = problem(NVLM_LINEAR, rows, columns, depth);
          test::check(name(p, device) == "gemm_sm80_16x64", words(p, device) + " takes " + name(p, device));
        }
      }
    }
  }
  for (const GemmDevice& device : {kA100, kHopper}) {
    test::equal(name(problem(NVLM_LINEAR, 4096, 4096, 4096), device), std::string("gemm_sm80_128x256"), "4096 cubed");
    test::equal(name(problem(NVLM_LINEAR, 8192, 8192, 8192), device), std::string("gemm_sm80_128x256"), "8192 cubed");
  }
  test::equal(name(problem(NVLM_LINEAR, 4096, 4096, 4096), kAda), std::string("gemm_sm80_128x128"),
              "4096 cubed with 99 KB");
  for (const GemmDevice& device : kDevices) {
    for (const GemmProblem& p : kProblems) {
      const GemmChoice c = plan_gemm(p, device);
      std::printf("%-28s %-18s splits %2d, %9.0f clocks\n", words(p, device).c_str(), c.kernel->name, c.splits,
                  c.clocks);
    }
  }
}

// Tiles that just fill the multiprocessors, and a few more of them: a second wave of large tiles costs more than a
// third round of half as large ones.
void waves() {
  test::equal(name(problem(NVLM_LINEAR, 12 * 128, 11 * 256, 4096), kHopper), std::string("gemm_sm80_128x256"),
              "132 tiles on 132 multiprocessors");
  test::equal(name(problem(NVLM_LINEAR, 13 * 128, 11 * 256, 4096), kHopper), std::string("gemm_sm80_128x128"),
              "143 tiles on 132 multiprocessors");
  for (const GemmDevice& device : kDevices) {
    for (const GemmProblem& p : kProblems) {
      const GemmChoice choice = plan_gemm(p, device);
      for (const GemmCandidate& c : gemm_candidates(p, device)) {
        test::check(c.rejection || choice.clocks <= c.choice.clocks,
                    words(p, device) + ": " + c.choice.kernel->name + " would be faster");
      }
    }
  }
  // Tensor cores bound a large product: Hopper's are faster than those of 8.0, and these than those of 8.9.
  const GemmProblem large = problem(NVLM_LINEAR, 8192, 8192, 8192);
  const auto rate = [&](const GemmDevice& d) { return 1 / (plan_gemm(large, d).clocks * d.multiprocessors); };
  test::check(rate(kHopper) > rate(kA100) && rate(kA100) > rate(kAda), "rates of the tensor cores");
}

void splits() {
  for (const GemmDevice& device : kDevices) {
    for (const GemmProblem& p : kProblems) {
      const GemmWorkspace need = gemm_split_workspace(device, p.rows, p.columns, p.depth);
      GemmDevice exact = device;
      exact.workspace_floats = need.floats;
      exact.counters = need.counters;
      const GemmChoice wide = plan_gemm(p, device), c = plan_gemm(p, exact);
      test::check(wide.kernel == c.kernel && wide.splits == c.splits,
                  words(p, device) + ": the workspace that is asked for changes the choice");
      const int64_t tiles = gemm_tiles(c.kernel->tile, p.rows, p.columns),
                    steps = (p.depth + c.kernel->tile.k - 1) / c.kernel->tile.k;
      test::check(c.splits >= 1 && c.splits <= std::max<int64_t>(1, steps / 2),
                  words(p, device) + ": every part has work");
      if (c.splits > 1)
        test::check(tiles * c.splits * c.kernel->tile.m * c.kernel->tile.n <= need.floats && tiles <= need.counters,
                    words(p, device) + ": splits beyond the workspace");
      for (const int64_t fewer : {p.rows / 2, p.rows - 1}) {
        const GemmWorkspace less = gemm_split_workspace(device, std::max<int64_t>(1, fewer), p.columns, p.depth);
        test::check(less.floats <= need.floats && less.counters <= need.counters,
                    words(p, device) + ": fewer rows ask for more");
      }
      exact.workspace_floats = 0;
      test::equal(plan_gemm(p, exact).splits, 1, words(p, device) + ": splits without a workspace");
      exact.workspace_floats = need.floats;
      exact.counters = 0;
      test::equal(plan_gemm(p, exact).splits, 1, words(p, device) + ": splits without counters");
    }
    test::check(plan_gemm(problem(NVLM_LINEAR_RESIDUAL, 8, 8192, 29568), device).splits > 1,
                "a deep product of few rows is split");
    test::check(gemm_split_workspace(device, 8192, 59136, 29568).floats <= int64_t{8} << 20,
                "at most 32 MB of partial sums");
  }
}

}  // namespace

int main() {
  test::run("a chosen kernel fits the shared memory of 163, 99 and 227 KB", shared_memory);
  test::run("each rejection has its reason", rejections);
  test::run("the table is sound", table);
  test::run("few rows take the skinny tile, many the large one", sizes);
  test::run("waves count, and the fastest estimate is taken", waves);
  test::run("splits fit the workspace", splits);
  return test::summary();
}
