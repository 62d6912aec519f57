// What devices promise beside arithmetic: names, forced instruction sets, alignment, memory counted and given back,
// cancelling, several devices and threads at once.
#include <atomic>
#include <cstdlib>
#include <thread>

#include "cases/cases.h"
#include "support/check.h"

namespace nvlm::test {
namespace {

void names(const std::vector<std::string>& sets) {
  const nvlm_backend* cpu = nvlm_cpu_backend();
  const auto chosen = [&](const char* option) -> std::string {
    const nvlm_open_options options{1, option, 0};
    nvlm_device* device = nullptr;
    const nvlm_status status = cpu->open(&options, &device);
    if (status != NVLM_OK)
      return (status == NVLM_UNSUPPORTED ? "unsupported: " : "failed: ") + std::string(cpu->last_error(nullptr));
    nvlm_capabilities capabilities;
    cpu->capabilities(device, &capabilities);
    const std::string name = capabilities.instruction_set;
    cpu->close(device);
    return name;
  };
  check(chosen(nullptr) == sets.front(), "the best set comes first");
  for (const std::string& set : sets) check(chosen(set.c_str()) == set, "a set can be forced");
  const std::string unknown = chosen("avx9");
  check(unknown.rfind("unsupported: ", 0) == 0 && unknown.find("avx9") != std::string::npos &&
            unknown.find(sets.front()) != std::string::npos && unknown.find("generic") != std::string::npos,
        "an unknown set is refused with the names of those there are: " + unknown);
  setenv("NVLM_CPU_SET", "generic", 1);
  check(chosen(nullptr) == "generic", "NVLM_CPU_SET forces a set");
  setenv("NVLM_CPU_SET", "nonsense", 1);
  check(chosen(nullptr).rfind("unsupported: ", 0) == 0, "NVLM_CPU_SET with an unknown name is refused");
  unsetenv("NVLM_CPU_SET");
}

void memory(const std::string& set) {
  const Device device(set, 2);
  const nvlm_backend& table = device.table();
  for (const uint64_t bytes : {uint64_t{1}, uint64_t{100}, uint64_t{1} << 20, (uint64_t{1} << 20) + 1}) {
    void* memory = nullptr;
    equal(table.alloc(device.handle(), bytes, &memory), NVLM_OK, "alloc");
    equal(reinterpret_cast<uintptr_t>(memory) % 64, uintptr_t{0}, "64-byte alignment");
    equal(table.used_bytes(device.handle()), bytes, "counted");
    std::memset(memory, 1, bytes);
    table.free(device.handle(), memory, bytes);
    equal(table.used_bytes(device.handle()), uint64_t{0}, "given back");
  }
  void* none = nullptr;
  equal(table.alloc(device.handle(), uint64_t{1} << 60, &none), NVLM_OUT_OF_MEMORY, "an impossible amount");
  check(std::string(table.last_error(device.handle())).find(std::to_string(uint64_t{1} << 60)) != std::string::npos,
        "the message says how much");
  {
    // Above 1 MiB: mapped; the runner compares bytes.
    const OpCase c = linear_case(NVLM_LINEAR, 3, 700, 900, NVLM_BF16, "bias parts");
    Loaded loaded(device, c);
    check(table.used_bytes(device.handle()) > 700 * 900 * 2, "weights are counted");
    const OpCase attention = causal_attention_case({{70, 3}}, 2, 1, 16);  // a plan with scratch
    Loaded other(device, attention);
  }
  equal(table.used_bytes(device.handle()), uint64_t{0}, "everything given back");
}

void cancelling(const std::string& set) {
  const Device device(set, 2);
  const OpCase c = linear_case(NVLM_LINEAR, 3, 8, 8, NVLM_F32);
  const volatile int32_t cancel = 1;
  const nvlm_record record = c.record;
  const nvlm_weight_source source = c.weights[0].source();
  const nvlm_backend& table = device.table();
  nvlm_weight* weight = nullptr;
  table.upload_weight(device.handle(), &source, &weight);
  const nvlm_tensor tensors[] = {{NVLM_ROWS, 1, 8, 0, NVLM_F32}, {NVLM_ROWS, 1, 8, 96, NVLM_F32}};
  void* arena = nullptr;
  table.alloc(device.handle(), 192, &arena);
  std::memset(arena, 0x7f, 192);
  nvlm_program p{};
  p.name = "cancelled";
  p.records = &record;
  p.record_count = 1;
  p.tensors = tensors;
  p.tensor_count = 2;
  p.weights = &weight;
  p.weight_count = 1;
  p.max_count[NVLM_ROWS] = 3;
  p.arena_bytes = 192;
  p.arena = arena;
  nvlm_plan* plan = nullptr;
  equal(table.compile(device.handle(), &p, &plan), NVLM_OK, "compiles");
  const nvlm_batch batch = c.batch.view(nullptr);
  equal(table.run(device.handle(), plan, &batch, &cancel), NVLM_CANCELLED, "a cancelled run says so");
  equal(static_cast<int>(static_cast<unsigned char*>(arena)[100]), 0x7f, "and writes nothing");
  table.free_plan(device.handle(), plan);
  table.free_weight(device.handle(), weight);
  table.free(device.handle(), arena, 192);
}

// The same bits from 1 thread, 2 and 3, and from several devices running at the same time.
void threads(const std::string& set) {
  const std::vector<OpCase> cases = {linear_case(NVLM_LINEAR, 53, 130, 70, NVLM_BF16, "bias"),
                                     causal_attention_case({{150, 40}, {9, 9}}, 4, 2, 16),
                                     tile_attention_case(2, 65, 2, 16)};
  std::vector<std::vector<float>> expected;
  {
    const Device one(set, 1);
    for (const OpCase& c : cases) expected.push_back(run_case(one, c).out);
  }
  std::vector<std::thread> runners;
  std::atomic<int> wrong{0};
  for (int t = 1; t <= 3; ++t) {
    runners.emplace_back([&, t] {
      const Device device(set, t);
      for (int round = 0; round < 20; ++round) {
        for (size_t i = 0; i < cases.size(); ++i) {
          const Outcome o = run_case(device, cases[i]);
          if (!o.damage.empty() || o.out.size() != expected[i].size() ||
              std::memcmp(o.out.data(), expected[i].data(), expected[i].size() * sizeof(float)) != 0)
            ++wrong;
        }
      }
    });
  }
  for (std::thread& r : runners) r.join();
  equal(wrong.load(), 0, "runs that differ from one thread's");
}

// A NaN among the inputs must come out, never a plausible number.
void not_a_number(const std::string& set) {
  const Device device(set, 1);
  for (const nvlm_op op : {NVLM_LINEAR, NVLM_LINEAR_GELU, NVLM_LINEAR_SWIGLU}) {
    OpCase c = linear_case(op, 2, 16, 8, NVLM_F32);
    c.tensors[0].data[3] = NAN;
    const Outcome o = run_case(device, c);
    check(std::isnan(o.out[0]) && std::isfinite(o.out[16]),
          "NaN passes through op " + std::to_string(op) + " in its row alone");
  }
  OpCase c = tile_attention_case(1, 20, 1, 8);
  c.tensors[0].data[5 * 24 + 8] = NAN;  // one key
  check(std::isnan(run_case(device, c).out[0]), "NaN in a key passes through attention");
}

}  // namespace

void test_devices(const std::vector<std::string>& sets) {
  run("instruction sets", [&] { names(sets); });
  std::vector<std::string> all = sets;
  all.push_back("reference");
  for (const std::string& set : all) {
    run("memory of " + set, [&] { memory(set); });
    run("cancelling on " + set, [&] { cancelling(set); });
    run("not a number on " + set, [&] { not_a_number(set); });
  }
  for (const std::string& set : sets) run("threads of " + set, [&] { threads(set); });
}

}  // namespace nvlm::test
