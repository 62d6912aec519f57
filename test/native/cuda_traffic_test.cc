// How the CUDA kernels use memory, counted by the emulator: sectors of global memory and passes over the banks of shared memory, against the least for the same bytes
// (emulator/traffic.h). Every kernel at a shape like the models', with rows of whole sectors; no kernel may take more than its limit below. What counts is each
// instruction alone: bytes that several instructions take from one sector one after the other, through the first-level cache, count for each of them.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iterator>

#include "cases/cases.h"
#include "cuda/cut_tiles.h"
#include "cuda/gemm_plan.h"
#include "cuda/kernels/gemm.h"
#include "cuda/launchers.h"
#include "emulator/planted_traffic.h"
#include "support/launcher_fixture.h"

namespace nvlm::test {
namespace {

struct Limit {
  const char* kernel;  // with the arguments of its template, or for all of them
  double sectors, passes;
  const char* why;  // where a limit is above 1
};

// First the instances that differ from the rest of their kernel.
constexpr const char* kWeights = "a lane reads 16 bytes of bf16 and 32 of float32 weights: two loads, each half of every sector";
constexpr const char* kTails = "rows of 10 or 12 pieces of 16 bytes: eight lanes that copy them cross into the next row, behind its padding";
constexpr const char* kIntervals = "the intervals of a tile's rows begin where its rows do, within a sector";
constexpr const char* kPairs = "norm weights as in norm; and a warp stores the pairs of rope that it has summed, half a head apart";
constexpr const char* kBias = "a thread reads bias, scale or positions of its four columns one by one";
constexpr Limit kLimits[] = {
    {"attention_decode_kernel<64>", 1, 1, ""},
    {"attention_decode_kernel<128>", 1, 1, ""},
    {"attention_decode_kernel", 1, 1.25, kTails},
    {"attention_prefill_kernel<64>", 1.002, 1, kIntervals},
    {"attention_prefill_kernel<128>", 1.002, 1, kIntervals},
    {"attention_prefill_kernel", 1.002, 1.25, kTails},
    {"attention_tile_kernel<64>", 1, 1, ""},
    {"attention_tile_kernel<128>", 1, 1, ""},
    {"attention_tile_kernel", 1, 1.25, kTails},
    {"attention_any_kernel", 1.1, 1, "heads of 40: rows begin within sectors"},
    {"gemm_sm80<Sm80_16x64>", 1.1, 1, kBias},
    {"gemm_sm80", 1.02, 1, kBias},
    {"gemv_kernel", 1.03, 1, "a warp stores the few columns that it has summed"},
    {"norm_gemv_kernel", 1.15, 1, kWeights},
    {"norm_qkv_rope_write_kernel", 1.35, 1, kPairs},
    {"rms_norm_kernel", 1.5, 1, kWeights},
    {"layer_norm_kernel", 1.67, 1, kWeights},
    {"pixel_shuffle_norm_kernel", 1.67, 1, kWeights},
    {"qk_norm_kernel", 1.5, 1, kWeights},
    {"rope_kv_write_kernel<2>", 1.75, 1, "heads of 24: half a head is no whole sector"},
    {"rope_kv_write_kernel<4>", 1, 1, ""},
    {"kv_write_kernel", 1, 1, ""},
    {"embed_kernel", 1, 1, ""},
    {"gather_rows_kernel", 1, 1, ""},
    {"patch_rows", 9, 1, "a lane reads its eight pixels byte by byte: 32 lanes, 32 sectors, which serve the next loads from the first-level cache"},
    {"across_kernel", 7, 1, "a lane reads its taps byte by byte, as above"},
    {"down_kernel", 1, 1, ""},
    {"sample_kernel", 1, 1, ""},
    {"probe_kernel", 1, 1, ""},
};

emulator::Settings counting() {
  emulator::Settings settings;
  settings.traffic = true;
  return settings;
}

// ---- Runs ----

std::map<std::string, emulator::Traffic> all;  // by kernel with its template's arguments, over all runs

// What was launched since the emulator was configured.
void collect() {
  for (const auto& [kernel, t] : emulator::traffic()) {
    emulator::Traffic& sum = all[kernel];
    sum.sectors += t.sectors, sum.least_sectors += t.least_sectors, sum.passes += t.passes, sum.least_passes += t.least_passes;
    if (!t.worst.empty()) sum.worst = t.worst;
  }
}

// What `body` launches; its operands, when they go, wait for that.
template <typename Body>
void count(const std::string& name, const Body& body) {
  on_device(counting(), name, [&](gpu::Stream stream) {
    body(stream);
    collect();
  });
}

void count_case(const OpCase& c) {
  emulator::configure(counting());
  {
    const Device device(*nvlm_cuda_backend());
    const Outcome o = run_case(device, rounded(c));
    check(o.status == NVLM_OK, c.name + ": " + o.error);
  }
  test::equal(emulator::fault(), std::string(), c.name);
  collect();
}

void ops() {
  for (const int64_t n : {896, 8192, 16384, 65536}) {  // one, two, four and eight pieces a thread
    count_case(rms_norm_case(2, n, 0));
    count_case(layer_norm_case(2, n, -1, 1, 1e-6f));
    count_case(qk_norm_case(1, n, 0));
    count_case(pixel_shuffle_norm_case(1, 4, 2, n / 4, true));
  }
  count_case(rope_kv_write_case(3, 14, 2, 64, 100, 1e6f));
  count_case(rope_kv_write_case(3, 4, 2, 24, 100, 1e6f));
  count_case(kv_write_case(3, 2, 64));
  count_case(embed_tokens_case(3, 31, 896, NVLM_BF16));
  count_case(gather_rows_case(3, {2, 0}, 896));
  count_case(patch_embed_case(1, 56, 14, 128, NVLM_BF16));
  count_case(sample_case(2, 4096, 0.8f, 0.9f));
  for (const int64_t rows : {1, 2, 3, 4}) {
    for (const nvlm_op op : {NVLM_LINEAR, NVLM_LINEAR_SWIGLU, NVLM_LINEAR_RESIDUAL, NVLM_LOGITS}) count_case(linear_case(op, rows, 256, 896, NVLM_BF16, op == NVLM_LINEAR ? "bias" : ""));
    count_case(decoder_layer_case(static_cast<int>(rows), true));
  }
  for (const int32_t d : {40, 64, 80, 96, 128}) {
    count_case(causal_attention_case({{200, 1}, {64, 1}}, 4, 2, d));
    count_case(causal_attention_case({{130, 70}}, 4, 2, d));
    count_case(tile_attention_case(1, 129, 2, d));
  }
  for (const int32_t d : {272, 1040}) count_case(causal_attention_case({{20, 2}}, 2, 1, d));  // several pieces of a row a lane
}

// Every tile of the product, with each way to end it, whole and split.
void products() {
  std::mt19937_64 random(1);
  for (const gpu::GemmKernel& kernel : gpu::gemm_kernels()) {
    const int64_t rows = kernel.tile.m, columns = kernel.tile.n, depth = int64_t{kernel.tile.k} * 4;
    for (const nvlm_op op : {NVLM_LINEAR, NVLM_LINEAR_SWIGLU, NVLM_LINEAR_RESIDUAL, NVLM_LOGITS}) {
      count(kernel.name, [&](gpu::Stream stream) {
        const bool pairs = op == NVLM_LINEAR_SWIGLU;
        const int splits = op == NVLM_LINEAR ? 2 : 1;
        const DeviceArray<gpu::bf16> in(random_bf16(random, static_cast<size_t>(rows * depth)), stream), w(random_bf16(random, static_cast<size_t>(columns * depth)), stream),
            out(random_bf16(random, static_cast<size_t>(2 * rows * columns)), stream);
        const DeviceArray<float> bias(random_floats(random, static_cast<size_t>(columns)), stream), parts(static_cast<size_t>(splits * rows * columns), stream);
        const DeviceArray<uint32_t> counters(std::vector<uint32_t>(1, 0), stream);
        const gpu::Weight matrix{NVLM_MATRIX, pairs, columns, depth, depth, w.get()}, shift = vector_of(bias);
        LauncherFixture f(stream);
        f.record.op = op;
        f.workspace = {parts.get(), static_cast<int64_t>(parts.count()), counters.get(), 1};
        f.op.in = in.get(), f.op.in_rows = f.op.out_rows = rows, f.op.in_cols = depth, f.op.out = out.get(), f.op.out_cols = pairs ? columns / 2 : columns;
        f.op.w = &matrix;
        if (op == NVLM_LINEAR) f.op.bias = &shift;
        expect_ok(gpu::enqueue_gemm_as(f.op, {&kernel, splits, 0}), kernel.name);
      });
    }
  }
}

void resizing() {
  std::mt19937_64 random(2);
  count("resize", [&](gpu::Stream stream) {
    constexpr int32_t kWidth = 300, kHeight = 100, kSide = 64;
    std::vector<uint8_t> rgb(size_t{3} * kWidth * kHeight);
    for (uint8_t& b : rgb) b = static_cast<uint8_t>(random());
    const AxisTaps across = bicubic_taps(kWidth, 2 * kSide), down = bicubic_taps(kHeight, kSide);
    const DeviceArray<int32_t> d_across(gpu::flat_taps(across), stream), d_down(gpu::flat_taps(down), stream);
    const DeviceArray<uint8_t> d_rgb(rgb, stream), out(size_t{3} * kSide * kSide * 2, stream);
    gpu::Resize r{d_rgb.get(), kWidth, kHeight, 2, 1, kSide, gpu::taps_at(d_across.get(), across), gpu::taps_at(d_down.get(), down), nullptr, out.get(), stream};
    const DeviceArray<uint8_t> scratch(static_cast<size_t>(gpu::resize_scratch(r)), stream);
    r.scratch = scratch.get();
    expect_ok(gpu::enqueue_resize(r), "resize");
  });
}

// ---- Limits ----

double share(uint64_t taken, uint64_t least) { return least == 0 ? 1 : static_cast<double>(taken) / static_cast<double>(least); }

void limits() {
  std::printf("%-40s %10s %7s %7s %10s %7s %7s\n", "kernel", "sectors", "of least", "limit", "passes", "of least", "limit");
  std::vector<bool> seen(std::size(kLimits), false);
  for (const auto& [kernel, t] : all) {
    const auto limit = std::find_if(std::begin(kLimits), std::end(kLimits), [&, name = kernel](const Limit& l) { return name == l.kernel || name.substr(0, name.find('<')) == l.kernel; });
    const double sectors = share(t.sectors, t.least_sectors), passes = share(t.passes, t.least_passes);
    const bool known = limit != std::end(kLimits);
    std::printf("%-40s %10llu %6.2fx %6.2fx %10llu %6.2fx %6.2fx  %s\n", kernel.c_str(), static_cast<unsigned long long>(t.sectors), sectors, known ? limit->sectors : 0,
                static_cast<unsigned long long>(t.passes), passes, known ? limit->passes : 0, known ? limit->why : "no limit");
    if (!check(known, kernel + " has no limit in this test's table")) continue;
    seen[static_cast<size_t>(limit - std::begin(kLimits))] = true;
    check(sectors <= limit->sectors, kernel + " touches " + std::to_string(sectors) + " times the least sectors; most at " + t.worst + " of this program (addr2line)");
    check(passes <= limit->passes, kernel + " takes " + std::to_string(passes) + " times the least passes; most at " + t.worst + " of this program (addr2line)");
  }
  for (size_t i = 0; i < seen.size(); ++i) check(seen[i], std::string("nothing launched ") + kLimits[i].kernel);
}

// ---- The counters themselves ----

std::string words(const emulator::Traffic& t) {
  return std::to_string(t.sectors) + " sectors of " + std::to_string(t.least_sectors) + ", " + std::to_string(t.passes) + " passes of " + std::to_string(t.least_passes);
}

void planted() {
  for (const emulator::PlantedTraffic& p : emulator::planted_traffic()) {
    for (uint64_t seed = 1; seed <= 4; ++seed) {  // whatever the order of lanes
      emulator::Settings settings = counting();
      settings.seed = seed;
      on_device(settings, p.name, [&](gpu::Stream stream) {
        const DeviceArray<float> in(std::vector<float>(emulator::kPlantedFloats, 1.0f), stream), out(emulator::kPlantedFloats, stream);
        expect_ok(p.launch(in.get(), out.get(), stream), p.name);
        gpu::wait(stream);
        const auto counted = emulator::traffic();
        if (test::equal(counted.size(), size_t{1}, p.name + ": kernels")) test::equal(words(counted.begin()->second), words(p.expected), p.name);
      });
    }
  }
}

}  // namespace
}  // namespace nvlm::test

int main() {
  using namespace nvlm::test;
  run("kernels are instrumented", [] { check(nvlm::emulator::instrumented(), "compile kernels with -fsanitize=thread"); });
  run("planted waste is counted", planted);
  run("ops", ops);
  run("products", products);
  run("resizing", resizing);
  run("no kernel wastes more than it says", limits);
  return summary();
}
