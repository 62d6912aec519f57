// How the CUDA kernels use memory, counted by the emulator: sectors of global memory and passes over the banks of
// shared memory, against the least for the same bytes (emulator/traffic.h). Every kernel at a shape like the models',
// with rows of whole sectors; no kernel may take more than its limit below. What counts is each instruction alone:
// bytes that several instructions take from one sector one after the other, through the first-level cache, count for
// each of them.
//
// And the most dynamic shared memory that each kernel asks for, against what a block can have on the smallest GPU that
// it may run on. `--json FILE` writes that down by kernel, for the table of scripts/check-kernels.mjs.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iterator>

#include "cases/cases.h"
#include "cuda/cut_tiles.h"
#include "cuda/gemm_plan.h"
#include "cuda/kernels/gemm.h"
#include "cuda/kernels/gemv.cuh"
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

// First the instances that differ from the rest of their kernel. Each row must be launched: attention has one for each
// head size that is to be fast, so that none goes by way of attention_any.
constexpr const char* kWeights =
    "a lane reads 16 bytes of bf16 and 32 of float32 weights: two loads, each half of every sector";
constexpr const char* kTails =
    "rows of 10 or 12 pieces of 16 bytes: eight lanes that copy them cross into the next row, behind its padding";
constexpr const char* kIntervals = "the intervals of a tile's rows begin where its rows do, within a sector";
constexpr const char* kPairs =
    "norm weights as in norm; and a warp stores the pairs of rope that it has summed, half a head apart";
constexpr const char* kBias = "a thread reads bias, scale or positions of its four columns one by one";
constexpr Limit kLimits[] = {
    {"attention_decode_kernel<64>", 1, 1, ""},
    {"attention_decode_kernel<80>", 1, 1.25, kTails},
    {"attention_decode_kernel<96>", 1, 1.25, kTails},
    {"attention_decode_kernel<128>", 1, 1, ""},
    {"attention_prefill_kernel<64>", 1.002, 1, kIntervals},
    {"attention_prefill_kernel<80>", 1.002, 1.25, kTails},
    {"attention_prefill_kernel<96>", 1.002, 1.25, kTails},
    {"attention_prefill_kernel<128>", 1.002, 1, kIntervals},
    {"attention_tile_kernel<64>", 1, 1, ""},
    {"attention_tile_kernel<80>", 1, 1.25, kTails},
    {"attention_tile_kernel<96>", 1, 1.25, kTails},
    {"attention_tile_kernel<128>", 1, 1, ""},
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
    {"patch_rows", 9, 1,
     "a lane reads its eight pixels byte by byte: 32 lanes, 32 sectors, which serve the next loads from the "
     "first-level cache"},
    {"across_kernel", 7.05, 1, "a lane reads its taps byte by byte, as above"},
    {"down_kernel<true>", 1, 1, ""},
    {"down_kernel<false>", 3.35, 1, "rows that are no whole words are read and stored byte by byte"},
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
    sum.sectors += t.sectors, sum.least_sectors += t.least_sectors, sum.passes += t.passes,
        sum.least_passes += t.least_passes;
    if (!t.worst.empty()) sum.worst = t.worst;
    sum.shared = std::max(sum.shared, t.shared);
  }
}

// The same without traffic, for shapes unlike the models': these alone are no launch that `limits` counts.
void collect_shared() {
  for (const auto& [kernel, t] : emulator::traffic()) all[kernel].shared = std::max(all[kernel].shared, t.shared);
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
    for (const nvlm_op op : {NVLM_LINEAR, NVLM_LINEAR_SWIGLU, NVLM_LINEAR_RESIDUAL, NVLM_LOGITS})
      count_case(linear_case(op, rows, 256, 896, NVLM_BF16, op == NVLM_LINEAR ? "bias" : ""));
    count_case(decoder_layer_case(static_cast<int>(rows), true));
  }
  for (const int32_t d : {40, 64, 80, 96, 128}) {
    count_case(causal_attention_case({{200, 1}, {64, 1}}, 4, 2, d));
    count_case(causal_attention_case({{130, 70}}, 4, 2, d));
    count_case(tile_attention_case(1, 129, 2, d));
  }
  // Several pieces of a row a lane.
  for (const int32_t d : {272, 1040}) count_case(causal_attention_case({{20, 2}}, 2, 1, d));
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
        const DeviceArray<gpu::bf16> in(random_bf16(random, static_cast<size_t>(rows * depth)), stream),
            w(random_bf16(random, static_cast<size_t>(columns * depth)), stream),
            out(random_bf16(random, static_cast<size_t>(2 * rows * columns)), stream);
        const DeviceArray<float> bias(random_floats(random, static_cast<size_t>(columns)), stream),
            parts(static_cast<size_t>(splits * rows * columns), stream);
        const DeviceArray<uint32_t> counters(std::vector<uint32_t>(1, 0), stream);
        const gpu::DeviceWeight matrix{NVLM_MATRIX, pairs, columns, depth, depth, w.get()}, shift = vector_of(bias);
        LauncherFixture f(stream);
        f.record.op = op;
        f.workspace = {parts.get(), static_cast<int64_t>(parts.count()), counters.get(), 1};
        f.op.in = in.get(), f.op.in_rows = f.op.out_rows = rows, f.op.in_cols = depth, f.op.out = out.get(),
        f.op.out_cols = pairs ? columns / 2 : columns;
        f.op.w = &matrix;
        if (op == NVLM_LINEAR) f.op.bias = &shift;
        expect_ok(gpu::enqueue_gemm_as(f.op, {&kernel, splits, 0}), kernel.name);
      });
    }
  }
}

void resizing(int32_t side) {
  std::mt19937_64 random(2);
  count("resize", [&](gpu::Stream stream) {
    constexpr int32_t kWidth = 300, kHeight = 100;
    std::vector<uint8_t> rgb(size_t{3} * kWidth * kHeight);
    for (uint8_t& b : rgb) b = static_cast<uint8_t>(random());
    const AxisTaps across = bicubic_taps(kWidth, 2 * side), down = bicubic_taps(kHeight, side);
    const DeviceArray<int32_t> d_across(gpu::flat_taps(across), stream), d_down(gpu::flat_taps(down), stream);
    const DeviceArray<uint8_t> d_rgb(rgb, stream), out(size_t{3} * static_cast<size_t>(side * side * 2), stream);
    gpu::Resize r{d_rgb.get(),
                  kWidth,
                  kHeight,
                  2,
                  1,
                  side,
                  gpu::taps_at(d_across.get(), across),
                  gpu::taps_at(d_down.get(), down),
                  nullptr,
                  out.get(),
                  stream};
    const DeviceArray<uint8_t> scratch(static_cast<size_t>(gpu::resize_scratch(r)), stream);
    r.scratch = scratch.get();
    expect_ok(gpu::enqueue_resize(r), "resize");
  });
}

// Shapes that take as much shared memory as there can be, where that depends on the shape: rows as long as a norm's may
// be to be one launch with the product behind it, rows that fill a stage of a product without one, heads as wide as the
// rotation takes them.
template <int rows>
void largest() {
  std::mt19937_64 random(rows);
  constexpr int64_t kColumns = gpu::gemv::kMaxNormElements / rows / gpu::gemv::kChunk * gpu::gemv::kChunk, kHead = 8,
                    kOut = 3 * kHead;
  const std::string name = std::to_string(rows) + " rows of " + std::to_string(kColumns);
  on_device(counting(), name, [&](gpu::Stream stream) {
    const DeviceArray<gpu::bf16> in(random_bf16(random, rows * kColumns), stream),
        w(random_bf16(random, kOut * kColumns), stream), out(rows * kOut, stream),
        pages(size_t{2} * NVLM_PAGE_KEYS * kHead, stream);
    const DeviceArray<float> scale(random_floats(random, kColumns), stream);
    const DeviceArray<int32_t> position(std::vector<int32_t>(rows, 0), stream);
    const DeviceArray<int64_t> slot(std::vector<int64_t>{0, 1, 2, 3}, stream);
    const gpu::DeviceWeight matrix{NVLM_MATRIX, false, kOut, kColumns, kColumns, w.get()},
        norm_scale = vector_of(scale);
    LauncherFixture norm(stream), product(stream), rope(stream);
    norm.record.op = NVLM_RMS_NORM, norm.record.out = product.record.in = 1, norm.record.c.eps = 1e-6f;
    norm.op.in = in.get(), norm.op.w = &norm_scale, norm.op.in_rows = norm.op.out_rows = rows,
    norm.op.in_cols = norm.op.out_cols = kColumns;
    product.record.op = NVLM_LINEAR, product.record.out = rope.record.out = 2;
    product.op.in = in.get(), product.op.w = &matrix, product.op.in_rows = product.op.out_rows = rows,
    product.op.in_cols = kColumns;
    product.op.out = out.get(), product.op.out_cols = kOut;
    rope.record.op = NVLM_ROPE_KV_WRITE, rope.record.c.heads = rope.record.c.kv_heads = 1,
    rope.record.c.head_dim = kHead, rope.record.c.rope_theta = 1e6f;
    rope.batch.position = position.get(), rope.batch.kv_slot = slot.get(),
    rope.op.self_kv = {pages.get(), 1, 1, 1, kHead};
    rope.op.out = out.get(), rope.op.out_rows = rows, rope.op.out_cols = kOut;
    expect_ok(gpu::enqueue_norm_gemv(norm.op, product.op), name);
    expect_ok(gpu::enqueue_norm_qkv_rope_write(norm.op, product.op, rope.op), name);
    expect_ok(gpu::enqueue_gemv(product.op), name);
    gpu::wait(stream);
    collect_shared();
    const gpu::DeviceInfo& device = *product.op.device;
    const std::string instance = "<" + std::to_string(rows) + ">";
    test::equal(all["gemv_kernel" + instance].shared,
                gpu::gemv::launch_shape<rows>(device, 1, INT32_MAX / gpu::gemv::kChunk, false).shared,
                "shared memory of gemv_kernel" + instance);
    test::equal(all["norm_gemv_kernel" + instance].shared,
                gpu::gemv::launch_shape<rows>(device, 1, kColumns / gpu::gemv::kChunk, true).shared,
                "shared memory of norm_gemv_kernel" + instance);
  });
}

void largest_shared() {
  largest<1>();
  largest<2>();
  largest<3>();
  largest<4>();
  for (const int32_t half : {4092, 4096}) {  // two and four words at a time
    on_device(counting(), "rope_kv_write", [&](gpu::Stream stream) {
      const int32_t d = 2 * half;
      std::mt19937_64 random(1);
      const DeviceArray<gpu::bf16> out(random_bf16(random, size_t{3} * d), stream),
          pages(size_t{2} * NVLM_PAGE_KEYS * d, stream);
      const DeviceArray<int32_t> position(std::vector<int32_t>{7}, stream);
      const DeviceArray<int64_t> slot(std::vector<int64_t>{0}, stream);
      LauncherFixture f(stream);
      f.record.op = NVLM_ROPE_KV_WRITE, f.record.c.heads = f.record.c.kv_heads = 1, f.record.c.head_dim = d,
      f.record.c.rope_theta = 1e6f;
      f.batch.position = position.get(), f.batch.kv_slot = slot.get(), f.op.self_kv = {pages.get(), 1, 1, 1, d};
      f.op.out = out.get(), f.op.out_rows = 1, f.op.out_cols = 3 * d;
      expect_ok(gpu::enqueue_rope_kv_write(f.op), "rope_kv_write");
      gpu::wait(stream);
      collect_shared();
      f.record.c.head_dim = d + 8, f.op.out_cols += 24;
      if (half == 4096)
        test::equal(gpu::enqueue_rope_kv_write(f.op) == gpu::Status::invalid, true, "wider heads are refused");
    });
  }
}

// ---- Limits ----

// Of a block, with opt-in: 8.6, 8.9 and 12.0; 8.0; 9.0 and 10.0.
constexpr uint32_t kBlockShared[] = {99 * 1024, 163 * 1024, 227 * 1024};

// A product's tile that the planner refuses where blocks have less may take what the next GPUs have.
const gpu::GemmKernel* tile_of(const std::string& kernel) {
  for (const gpu::GemmKernel& k : gpu::gemm_kernels()) {
    if (kernel == "gemm_sm80<S" + std::string(k.name).substr(std::strlen("gemm_s")) + ">") return &k;
  }
  return nullptr;
}

bool refused_at(const gpu::GemmKernel& kernel, uint32_t shared) {
  const gpu::GemmDevice device{shared == kBlockShared[0]   ? 86
                               : shared == kBlockShared[1] ? 80
                                                           : 90,
                               108, static_cast<int>(shared), 0, 0};
  for (const gpu::GemmCandidate& c :
       gpu::gemm_candidates({NVLM_LINEAR, gpu::WeightFormat::bf16, 4096, 4096, 4096}, device)) {
    if (c.choice.kernel == &kernel) return c.rejection != nullptr;
  }
  return false;
}

void shared_memory() {
  size_t tiles = 0;
  for (const auto& [kernel, t] : all) {
    uint32_t limit = kBlockShared[0];
    if (const gpu::GemmKernel* tile = tile_of(kernel)) {
      ++tiles;
      test::equal(t.shared, tile->shared, kernel + ": shared memory that the planner counts on");
      for (const uint32_t least : kBlockShared) {
        limit = least;
        if (!refused_at(*tile, least)) break;
      }
    }
    check(t.shared <= limit, kernel + " takes " + std::to_string(t.shared) +
                                 " bytes of shared memory; on some GPU that it may run on, a block has " +
                                 std::to_string(limit));
  }
  test::equal(tiles, gpu::gemm_kernels().size(), "tiles of the product that were launched");
}

void write(const char* file) {
  std::FILE* to = std::fopen(file, "w");
  if (!check(to != nullptr, std::string("can't write ") + file)) return;
  const char* separator = "{\n";
  for (const auto& [kernel, t] : all) {
    std::fprintf(to, "%s  \"%s\": %u", separator, kernel.c_str(), static_cast<unsigned>(t.shared));
    separator = ",\n";
  }
  std::fprintf(to, "\n}\n");
  check(std::fclose(to) == 0, std::string("can't write ") + file);
}

double share(uint64_t taken, uint64_t least) {
  return least == 0 ? 1 : static_cast<double>(taken) / static_cast<double>(least);
}

void limits() {
  std::printf("%-40s %10s %7s %7s %10s %7s %7s %7s\n", "kernel", "sectors", "of least", "limit", "passes", "of least",
              "limit", "shared");
  std::vector<bool> seen(std::size(kLimits), false);
  for (const auto& [kernel, t] : all) {
    const auto limit = std::find_if(std::begin(kLimits), std::end(kLimits), [&, name = kernel](const Limit& l) {
      return name == l.kernel || name.substr(0, name.find('<')) == l.kernel;
    });
    const double sectors = share(t.sectors, t.least_sectors), passes = share(t.passes, t.least_passes);
    const bool known = limit != std::end(kLimits);
    std::printf("%-40s %10llu %6.2fx %6.2fx %10llu %6.2fx %6.2fx %7u  %s\n", kernel.c_str(),
                static_cast<unsigned long long>(t.sectors), sectors, known ? limit->sectors : 0,
                static_cast<unsigned long long>(t.passes), passes, known ? limit->passes : 0,
                static_cast<unsigned>(t.shared), known ? limit->why : "no limit");
    if (!check(known, kernel + " has no limit in this test's table")) continue;
    if (t.sectors > 0) seen[static_cast<size_t>(limit - std::begin(kLimits))] = true;
    check(sectors <= limit->sectors, kernel + " touches " + std::to_string(sectors) +
                                         " times the least sectors; most at " + t.worst +
                                         " of this program (addr2line)");
    check(passes <= limit->passes, kernel + " takes " + std::to_string(passes) + " times the least passes; most at " +
                                       t.worst + " of this program (addr2line)");
  }
  for (size_t i = 0; i < seen.size(); ++i) check(seen[i], std::string("nothing launched ") + kLimits[i].kernel);
}

// ---- The counters themselves ----

std::string words(const emulator::Traffic& t) {
  return std::to_string(t.sectors) + " sectors of " + std::to_string(t.least_sectors) + ", " +
         std::to_string(t.passes) + " passes of " + std::to_string(t.least_passes);
}

void planted() {
  for (const emulator::PlantedTraffic& p : emulator::planted_traffic()) {
    for (uint64_t seed = 1; seed <= 4; ++seed) {  // whatever the order of lanes
      emulator::Settings settings = counting();
      settings.seed = seed;
      on_device(settings, p.name, [&](gpu::Stream stream) {
        const DeviceArray<float> in(std::vector<float>(emulator::kPlantedFloats, 1.0f), stream),
            out(emulator::kPlantedFloats, stream);
        expect_ok(p.launch(in.get(), out.get(), stream), p.name);
        gpu::wait(stream);
        const auto counted = emulator::traffic();
        if (test::equal(counted.size(), size_t{1}, p.name + ": kernels"))
          test::equal(words(counted.begin()->second), words(p.expected), p.name);
      });
    }
  }
}

}  // namespace
}  // namespace nvlm::test

int main(int argc, char** argv) {
  using namespace nvlm::test;
  const char* json = argc == 3 && std::strcmp(argv[1], "--json") == 0 ? argv[2] : nullptr;
  if (argc > 1 && !json) {
    std::printf("usage: cuda_traffic_test [--json FILE]\n");
    return 2;
  }
  run("kernels are instrumented",
      [] { check(nvlm::emulator::instrumented(), "compile kernels with -fsanitize=thread"); });
  run("planted waste is counted", planted);
  run("ops", ops);
  run("products", products);
  run("resizing", [] {
    resizing(64);
    resizing(50);  // rows that are no whole words
  });
  run("shapes that take most shared memory", largest_shared);
  run("no kernel wastes more than it says", limits);
  run("every kernel has the shared memory that it takes on every GPU that it may run on", shared_memory);
  if (json) write(json);
  return summary();
}
