// How the CUDA library runs a plan again and again: which steps become graphs, what overlaps, what the host waits for,
// and what is in flight meanwhile. What could break: a graph that is never used or made anew each time, a launch that
// is no longer dependent, a wait that crept in, a pinned buffer that is written before its copy has left.
#include <functional>

#include "cases/cases.h"
#include "cuda/staging.h"
#include "emulator/control.h"
#include "support/check.h"
#include "support/device_arrays.h"

namespace nvlm::test {
namespace {

constexpr int kMostGraphRows = 16, kRuns = 4;

void configure(emulator::Completion completion) {
  emulator::Settings settings;
  settings.completion = completion;
  emulator::configure(settings);
}

// ---- Graphs ----

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

struct Repeated {
  emulator::Counters counters;  // of all runs but the first, which loads
  bool same = true;             // each gave what the first one gave
};

Repeated repeat(const OpCase& c) {
  const Device device(*nvlm_cuda_backend());
  Loaded loaded(device, c);
  const test::Outcome first = loaded.run();
  test::equal(first.status, NVLM_OK, first.error);
  const emulator::Counters before = emulator::counters();
  Repeated r;
  for (int i = 1; i < kRuns; ++i) {
    const test::Outcome next = loaded.run();
    r.same = r.same && same_bits(next.out, first.out) && same_bits(next.self_kv, first.self_kv);
  }
  r.counters = emulator::counters();
  r.counters.graphs_made -= before.graphs_made;
  r.counters.graphs_run -= before.graphs_run;
  r.counters.overlaps -= before.overlaps;
  return r;
}

// Of a graph's launches the first is an ordinary one. The others begin before the one ahead of them has ended, where
// they may: all of few rows, whose launches have few blocks.
void decode_step(int rows) {
  configure(emulator::Completion::early);
  const OpCase c = rounded(decoder_layer_case(rows, true));
  const Repeated r = repeat(c);
  const uint64_t graphs = rows <= kMostGraphRows ? kRuns - 1 : 0;
  test::equal(r.counters.graphs_made, uint64_t{graphs > 0}, "graphs made");
  test::equal(r.counters.graphs_run, graphs, "graphs run");
  const uint64_t most = graphs * (static_cast<uint64_t>(c.launches) - 1);
  check(rows <= 4 ? r.counters.overlaps == most : r.counters.overlaps >= most / 2,
        std::to_string(r.counters.overlaps) + " of " + std::to_string(most) + " launches overlap");
  check(r.same, "a graph gives what single launches give");
}

void encode_step() {
  configure(emulator::Completion::early);
  for (const OpCase& c : all_cases()) {
    if (c.record.op != NVLM_PATCH_EMBED || c.batch.tiles == 0 || !fits_bf16(c)) continue;
    const Repeated r = repeat(rounded(c));
    test::equal(r.counters.graphs_made, uint64_t{1}, c.name + ": graphs made");
    test::equal(r.counters.graphs_run, uint64_t{kRuns - 1}, c.name + ": graphs run");
    test::equal(r.counters.overlaps, uint64_t{kRuns - 1},
                c.name + ": products that begin while the patches are gathered");
    return;
  }
  check(false, "a case with tiles");
}

// The first `rows` sequences of one row each.
nvlm_batch first_rows(const Batch& all, int rows) {
  nvlm_batch b = all.view(nullptr);
  b.rows = b.sequences = rows;
  return b;
}

// More shapes than graphs are kept: the one that comes all the time keeps its own.
void many_shapes() {
  configure(emulator::Completion::early);
  OpCase c = rounded(decoder_layer_case(kMostGraphRows, false));
  constexpr int kOuts = 2;
  c.batch.outs = kOuts;
  c.batch.out_row = {0, 0};
  const Device device(*nvlm_cuda_backend());
  Loaded loaded(device, c);
  test::equal(loaded.run().status, NVLM_OK, "run");
  const auto run = [&](int rows, int outs) {
    nvlm_batch b = first_rows(c.batch, rows);
    b.outs = outs;
    const uint64_t made = emulator::counters().graphs_made;
    test::equal(loaded.run(b), NVLM_OK, device.table().last_error(device.handle()));
    return emulator::counters().graphs_made - made;
  };
  run(1, 0);
  test::equal(run(1, 0), uint64_t{1}, "a graph, the second time");
  uint64_t again = 0;
  for (int rows = 2; rows <= kMostGraphRows; ++rows) {
    for (int outs = 0; outs <= kOuts; ++outs) {
      run(rows, outs);
      again += run(1, 0);
    }
  }
  test::equal(again, uint64_t{0}, "graphs made again of the shape that comes all the time");
  test::equal(device.table().wait(device.handle()), NVLM_OK, "wait");
}

// ---- What the host waits for ----

void runs_in_flight(int rows) {
  configure(emulator::Completion::late);  // nothing happens before somebody waits
  const OpCase c = rounded(decoder_layer_case(rows, false));
  const Device device(*nvlm_cuda_backend());
  Loaded loaded(device, c);
  test::equal(loaded.run().status, NVLM_OK, "run");
  const nvlm_batch batch = c.batch.view(nullptr);
  const uint64_t before = emulator::counters().host_waits;
  for (int i = 0; i < 2; ++i) test::equal(loaded.run(batch), NVLM_OK, "run");
  test::equal(emulator::counters().host_waits, before, "waits of two steps");
  test::equal(device.table().wait(device.handle()), NVLM_OK, "wait");
}

// Keys and values of every step, each at its own place: with the batch of a later one they would stand there.
std::vector<float> cache_after(bool waiting) {
  configure(emulator::Completion::late);
  const OpCase c = rounded(decoder_layer_case(1, false));
  const Device device(*nvlm_cuda_backend());
  Loaded loaded(device, c);
  test::equal(loaded.run().status, NVLM_OK, "run");
  std::vector<Batch> batches(5, c.batch);
  for (size_t i = 0; i < batches.size(); ++i) {
    Batch& b = batches[i];
    b.kv_slot[0] =
        b.kv_slot[0] / NVLM_PAGE_KEYS * NVLM_PAGE_KEYS + (b.kv_slot[0] + 3 + static_cast<int64_t>(i)) % NVLM_PAGE_KEYS;
    b.position[0] += static_cast<int32_t>(i);
    test::equal(loaded.run(b.view(nullptr)), NVLM_OK, device.table().last_error(device.handle()));
    if (waiting) test::equal(device.table().wait(device.handle()), NVLM_OK, "wait");
  }
  return loaded.self_cache();
}

void batches_in_flight() {
  const std::vector<float> expected = cache_after(true), got = cache_after(false);
  check(!expected.empty() && same_bits(got, expected), "keys and values are those of steps that were waited for");
}

// While a piece is filled, the one before it is still on its way.
void weights_in_flight() {
  configure(emulator::Completion::late);
  constexpr uint64_t kPieces = 5, kBytes = kPieces * gpu::Staging::kBytes;
  gpu::Stream stream = nullptr;
  void* memory = nullptr;
  expect_ok(gpu::create_stream(&stream), "stream");
  expect_ok(gpu::alloc(&memory, kBytes, stream), "memory");
  {
    gpu::Staging staging;
    expect_ok(staging.open(stream), "staging");
    uint64_t pieces = 0, waits = 0;
    const uint64_t before = emulator::counters().host_waits;
    expect_ok(staging.send(memory, kBytes, 1,
                           [&](unsigned char* pinned, uint64_t, uint64_t bytes) {
                             std::memset(pinned, static_cast<int>(pieces), bytes);
                             waits = emulator::counters().host_waits - before;
                             test::equal(waits, pieces < 2 ? uint64_t{0} : pieces - 1,
                                         "waits before piece " + std::to_string(pieces));
                             ++pieces;
                           }),
              "send");
    test::equal(emulator::counters().host_waits - before, waits, "waits behind the last piece");
    expect_ok(gpu::wait(stream), "wait");
  }
  expect_ok(gpu::free(memory, stream), "free");
  expect_ok(gpu::destroy_stream(stream), "stream");
}

// ---- Shared memory ----

struct Nothing {};
void some_kernel(Nothing) {}

// Another thread may be about to launch the kernel with what it was allowed before.
void limits_only_rise() {
  configure(emulator::Completion::early);
  for (const uint32_t kilobytes : {60, 50, 70})
    expect_ok(gpu::allow_shared(some_kernel, kilobytes * 1024), "allow_shared");
  gpu::Stream stream = nullptr;
  expect_ok(gpu::create_stream(&stream), "stream");
  for (const uint32_t kilobytes : {40, 70})
    expect_ok(gpu::launch(some_kernel, {dim3(1), dim3(1), kilobytes * 1024, stream}, Nothing{}), "launch");
  expect_ok(gpu::destroy_stream(stream), "stream");
}

void without_fault(const std::function<void()>& body) {
  body();
  test::equal(emulator::fault(), std::string(), "no fault");
}

}  // namespace
}  // namespace nvlm::test

int main() {
  using namespace nvlm::test;
  for (const int rows : {1, 4, 16, 17})
    run("a decode step of " + std::to_string(rows), [rows] { without_fault([rows] { decode_step(rows); }); });
  run("an encoder step", [] { without_fault(encode_step); });
  run("many shapes", [] { without_fault(many_shapes); });
  for (const int rows : {1, 17})
    run("runs of " + std::to_string(rows) + " in flight", [rows] { without_fault([rows] { runs_in_flight(rows); }); });
  run("batches in flight", [] { without_fault(batches_in_flight); });
  run("weights in flight", [] { without_fault(weights_in_flight); });
  run("limits only rise", [] { without_fault(limits_only_rise); });
  return summary();
}
