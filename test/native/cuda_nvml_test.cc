// A GPU's free memory from NVML, whose double is support/fake_nvml.cc; and the list of devices through the CUDA
// library's table, over the emulator.
//
// What could break: another GPU is asked, the wrong field is taken, a MIG part gets the memory of its whole GPU, a
// failure is taken for an answer or has no answer instead of CUDA's, NVML is asked before its init or left open, a list
// of devices makes a context.
#include "cuda/nvml.h"

#include <thread>
#include <vector>

#include "emulator/control.h"
#include "ops/ops.h"
#include "support/check.h"
#include "support/fake_nvml.h"

using namespace nvlm;
using nvlm::test::FakeNvml;

namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kUnknown = UINT64_MAX;  // where NVML has no answer

std::string fake_file(int missing) {
  return std::string(NVLM_FAKE_NVML) + "/" + std::to_string(missing) + "/libnvidia-ml.so.1";
}

// Held by all tests: a library that is opened again is the same one, with the same state.
const std::shared_ptr<DynamicLibrary>& library() {
  static std::string reason;
  static const std::shared_ptr<DynamicLibrary> opened = DynamicLibrary::open(fake_file(0), &reason);
  if (!opened) throw Error("missing-file", reason);
  return opened;
}

// The double anew: a GPU of 80 GB with other processes on it.
FakeNvml& fake() {
  FakeNvml& state = *reinterpret_cast<FakeNvml* (*)()>(library()->symbol("fake_nvml"))();
  state.address = "0000000a:3b:1f.0";
  state.total = 81920 * kMiB;
  state.free = 60000 * kMiB;
  state.used = 21920 * kMiB;
  state.init_code = state.find_code = state.memory_code = 0;
  state.inits = state.open = state.questions = 0;
  return state;
}

gpu::DeviceInfo device(uint64_t memory = 81000 * kMiB) {
  gpu::DeviceInfo info{};
  info.memory = memory;
  info.pci_domain = 0xa;
  info.pci_bus = 0x3b;
  info.pci_device = 0x1f;
  return info;
}

uint64_t ask(const gpu::Nvml& nvml, const gpu::DeviceInfo& info = device()) {
  return nvml.free_memory(info).value_or(kUnknown);
}

// What the table says of the emulated device, made anew; and how many calls that make a context this took.
nvlm_device_description describe(uint64_t* contexts) {
  emulator::configure({});
  nvlm_device_description description{};
  nvlm_cuda_backend()->describe(0, &description);
  *contexts = emulator::counters().contexts;
  return description;
}

}  // namespace

int main() {
  test::run("a GPU's free memory is that of the GPU at its address", [] {
    FakeNvml& state = fake();
    const gpu::Nvml nvml(fake_file(0));
    test::equal(ask(nvml), 60000 * kMiB, "free bytes");
    test::equal(state.inits.load(), 1, "inits");
    test::equal(state.open.load(), 0, "inits without a shutdown");
    for (int gpu::DeviceInfo::*number :
         {&gpu::DeviceInfo::pci_domain, &gpu::DeviceInfo::pci_bus, &gpu::DeviceInfo::pci_device}) {
      gpu::DeviceInfo other = device();
      --(other.*number);
      test::equal(ask(nvml, other), kUnknown, "a GPU at another address");
    }
    test::equal(state.open.load(), 0, "inits without a shutdown");
  });

  test::run("a missing library or function, and any failure, give no number and leave nothing open", [] {
    test::equal(ask(gpu::Nvml("/nowhere/libnvidia-ml.so.1")), kUnknown, "no library");
    test::equal(ask(gpu::Nvml("libm.so.6")), kUnknown, "another library");
    for (int missing = 1; missing <= 4; ++missing) {
      std::string reason;
      test::check(DynamicLibrary::open(fake_file(missing), &reason) != nullptr, reason);
      test::equal(ask(gpu::Nvml(fake_file(missing))), kUnknown, "without function " + std::to_string(missing));
    }
    const gpu::Nvml nvml(fake_file(0));
    int questions = 0;  // after a failure nothing more is asked
    for (int FakeNvml::*code : {&FakeNvml::init_code, &FakeNvml::find_code, &FakeNvml::memory_code}) {
      FakeNvml& state = fake();
      state.*code = 3;  // not supported
      test::equal(ask(nvml), kUnknown, "a failure");
      test::equal(state.open.load(), 0, "inits without a shutdown");
      test::equal(state.questions.load(), questions++, "questions");
    }
  });

  // CUDA's bytes, NVML's, whether NVML's free bytes are the device's. Of MIG the parts with most and least memory; of
  // whole GPUs those of which CUDA shows the least and the most.
  test::run("a MIG part does not get the free memory of its GPU", [] {
    const struct {
      uint64_t cuda, nvml;
      bool same;
    } cases[] = {
        {40192 * kMiB, 81920 * kMiB, false},   {9856 * kMiB, 81920 * kMiB, false}, {11968 * kMiB, 24576 * kMiB, false},
        {5952 * kMiB, 24576 * kMiB, false},    {81000 * kMiB, 81920 * kMiB, true}, {3700 * kMiB, 4096 * kMiB, true},
        {22500 * kMiB, 23028 * kMiB, true},    {8192 * kMiB, 8192 * kMiB, true},   {3072 * kMiB, 4096 * kMiB, true},
        {3072 * kMiB - 1, 4096 * kMiB, false},
    };
    const gpu::Nvml nvml(fake_file(0));
    for (const auto& c : cases) {
      FakeNvml& state = fake();
      state.total = c.nvml;
      state.free = 1000 * kMiB;
      state.used = c.nvml - state.free;
      test::equal(ask(nvml, device(c.cuda)), c.same ? state.free : kUnknown,
                  std::to_string(c.cuda / kMiB) + " of " + std::to_string(c.nvml / kMiB) + " MiB");
    }
  });

  test::run("free memory is never more than CUDA has in all", [] {
    fake().free = 81500 * kMiB;
    test::equal(ask(gpu::Nvml(fake_file(0))), 81000 * kMiB, "free bytes");
  });

  test::run("threads ask at once", [] {
    FakeNvml& state = fake();
    const gpu::Nvml nvml(fake_file(0));
    std::atomic<int> right{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        for (int n = 0; n < 200; ++n) right += ask(nvml) == 60000 * kMiB;
      });
    }
    for (std::thread& thread : threads) thread.join();
    test::equal(right.load(), 1600, "right answers");
    test::equal(state.inits.load(), 1600, "inits");
    test::equal(state.open.load(), 0, "inits without a shutdown");
  });

  test::run("a list of devices makes no context where NVML answers, and asks CUDA where it does not", [] {
    const uint64_t all = emulator::Settings{}.memory;
    FakeNvml& state = fake();
    state.address = "0000ffff:ff:1f.0";
    state.total = all;
    state.free = 300 * kMiB;
    state.used = all - state.free;
    uint64_t contexts = 0;
    nvlm_device_description d = describe(&contexts);
    test::check(d.available, d.reason);
    test::equal(d.memory_free, 300 * kMiB, "free bytes, by NVML");
    test::equal(d.memory_total, all, "bytes in all");
    test::equal(contexts, uint64_t{0}, "calls that make a context");
    test::equal(nvlm_cuda_backend()->device_count(), 1, "devices");
    test::equal(emulator::counters().contexts, uint64_t{0}, "calls that make a context, devices counted");

    state.memory_code = 4;  // no permission
    d = describe(&contexts);
    test::equal(d.memory_free, all, "free bytes, by CUDA");
    test::check(contexts > 0, "CUDA was asked");
    state.memory_code = 0;
    state.total = 2 * all;
    d = describe(&contexts);
    test::equal(d.memory_free, all, "free bytes of a part, by CUDA");
  });

  return test::summary();
}
