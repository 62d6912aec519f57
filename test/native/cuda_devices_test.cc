// A device that is not the first, each call to it from another thread: whatever CUDA keeps by thread (its device, and
// with that which streams, kernels and memory a call means) must not be what the thread happened to have.
#include <thread>

#include "cases/cases.h"
#include "cuda/gpu.h"
#include "emulator/control.h"
#include "support/check.h"

namespace nvlm::test {
namespace {

constexpr int32_t kDevice = 1;

// An entry of the table, each call on a new thread.
template <auto entry>
struct Apart;
template <typename Result, typename... Arguments, Result (*nvlm_backend::*entry)(Arguments...)>
struct Apart<entry> {
  static Result call(Arguments... arguments) {
    if constexpr (std::is_void_v<Result>) {
      std::thread([&] { (nvlm_cuda_backend()->*entry)(arguments...); }).join();
    } else {
      Result result{};
      std::thread([&] { result = (nvlm_cuda_backend()->*entry)(arguments...); }).join();
      return result;
    }
  }
};

nvlm_status open_second(const nvlm_open_options* options, nvlm_device** device) {
  nvlm_open_options second = *options;
  second.device = kDevice;
  return Apart<&nvlm_backend::open>::call(&second, device);
}

nvlm_backend apart() {
  nvlm_backend table = *nvlm_cuda_backend();
  table.open = open_second;
  table.close = Apart<&nvlm_backend::close>::call;
  table.capabilities = Apart<&nvlm_backend::capabilities>::call;
  table.alloc = Apart<&nvlm_backend::alloc>::call;
  table.free = Apart<&nvlm_backend::free>::call;
  table.write = Apart<&nvlm_backend::write>::call;
  table.read = Apart<&nvlm_backend::read>::call;
  table.upload_weight = Apart<&nvlm_backend::upload_weight>::call;
  table.free_weight = Apart<&nvlm_backend::free_weight>::call;
  table.compile = Apart<&nvlm_backend::compile>::call;
  table.free_plan = Apart<&nvlm_backend::free_plan>::call;
  table.run = Apart<&nvlm_backend::run>::call;
  table.wait = Apart<&nvlm_backend::wait>::call;
  table.cut_tiles = Apart<&nvlm_backend::cut_tiles>::call;
  return table;
}

void configured() {
  emulator::Settings settings;
  settings.devices = 2;
  settings.completion = emulator::Completion::late;  // nothing of a call happens before somebody waits
  emulator::configure(settings);
}

void nothing_left() {
  test::equal(emulator::fault(), std::string(), "no fault");
  test::equal(emulator::live_allocations(), uint64_t{0}, "memory that was not given back");
}

// A product of tiles (whose shared memory has to be allowed for each device), and attention over pages.
void computes() {
  configured();
  const nvlm_backend table = apart();
  const Device reference("reference", 1);
  for (const OpCase& given :
       {linear_case(NVLM_LINEAR, 33, 120, 200, NVLM_BF16, "bias"), causal_attention_case({{70, 3}}, 2, 1, 64)}) {
    const OpCase c = rounded(given);
    const Outcome truth = run_case(reference, c);
    const Device device(table);
    const std::string wrong = compare(c, bounds_of(c, truth), run_case(device, c), truth).wrong;
    check(wrong.empty(), c.name + ": " + wrong);
  }
  nothing_left();
}

void cuts_tiles() {
  configured();
  const nvlm_backend table = apart();
  {
    const Device device(table);
    const std::vector<uint8_t> picture(size_t{3} * 8 * 8, 77);
    std::vector<uint8_t> tiles(size_t{3} * 4 * 4);
    const nvlm_picture p{picture.data(), 8, 8, 1, 1, 4, 0};
    if (check(table.cut_tiles(device.handle(), &p, tiles.data()) == NVLM_OK, table.last_error(device.handle()))) {
      check(tiles == std::vector<uint8_t>(tiles.size(), 77), "tiles of one colour");
    }
  }
  nothing_left();
}

void tells_of_itself() {
  configured();
  const nvlm_backend table = apart();
  const Device device(table);
  nvlm_capabilities c{};
  table.capabilities(device.handle(), &c);
  gpu::DeviceInfo info{};
  gpu::device_info(kDevice, &info);
  equal(c.memory_total, info.memory, "its own memory, not the first one's");
  check(c.memory_free > info.memory / 2, "nor the first one's free memory");
}

uint64_t free_now() {
  uint64_t free = 0, total = 0;
  gpu::use_device(kDevice);
  gpu::memory_info(&free, &total);
  gpu::use_device(0);
  return free;
}

// What a device frees stays in its pool; a new one counts it as free, and none is left in the end.
void gives_memory_back() {
  configured();
  const nvlm_backend table = apart();
  const uint64_t before = free_now(), bytes = before / 8;
  {
    const Device device(table);
    void* memory = nullptr;
    equal(table.alloc(device.handle(), bytes, &memory), NVLM_OK, "alloc");
    table.free(device.handle(), memory, bytes);
    equal(table.wait(device.handle()), NVLM_OK, "wait");
    check(free_now() <= before - bytes, "freed memory stays in the pool");
    const Device other(table);
    nvlm_capabilities c{};
    table.capabilities(other.handle(), &c);
    equal(c.memory_free, before, "another model can have it");
    equal(table.alloc(device.handle(), bytes, &memory), NVLM_OK, "again");
    table.free(device.handle(), memory, bytes);
  }
  equal(free_now(), before, "after closing");
}

// Why a GPU can't be used, and the fix.
void says_why_not() {
  struct Case {
    int driver, devices, major;
    const char *reason, *fix;
  };
  const Case cases[] = {
      {0, 1, 8, "no NVIDIA driver", "Install one of version 580"},
      {12090, 1, 8, "knows CUDA 12.9, but 13.0 is needed", "Install driver 580"},
      {13000, 0, 8, "shows no GPU", "CUDA_VISIBLE_DEVICES"},
      {13000, 1, 7, "compute capability 7.0, but kernels need 8.0", "Use device: 'cpu'"},
  };
  const nvlm_backend& table = *nvlm_cuda_backend();
  for (const Case& c : cases) {
    emulator::Settings settings;
    settings.driver = c.driver, settings.devices = c.devices, settings.major = c.major;
    emulator::configure(settings);
    nvlm_device_description d{};
    table.describe(0, &d);
    const std::string reason = d.reason;
    check(!d.available && holds(reason, c.reason) && holds(reason, c.fix) && holds(reason, "device: 'cpu'"),
          std::string(c.reason) + ": " + reason);
    const nvlm_open_options options{};
    nvlm_device* device = nullptr;
    equal(table.open(&options, &device), NVLM_UNSUPPORTED, c.reason);
    test::equal(std::string(table.last_error(nullptr)), reason, "and open says the same");
  }
  configured();
  nvlm_device_description d{};
  table.describe(2, &d);
  check(!d.available && std::string(d.reason).find("There is no GPU 2; this machine has 2") == 0, d.reason);
}

}  // namespace
}  // namespace nvlm::test

int main() {
  using namespace nvlm::test;
  run("computes", computes);
  run("cuts tiles", cuts_tiles);
  run("tells of itself", tells_of_itself);
  run("gives memory back", gives_memory_back);
  run("says why not", says_why_not);
  return summary();
}
