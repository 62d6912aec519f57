// The host side of cuda/gpu.h but for streams (streams.cc): devices, memory, copies and launches. Copies read and write
// host memory when they happen, not when they are asked for; until then the target holds poison.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "emulator/streams.h"

namespace nvlm::gpu {
namespace {

using emulator::machine;
using emulator::trap;

std::map<unsigned char*, uint64_t> pinned;
std::map<std::pair<const void*, int>, uint32_t> allowed_shared;  // of a kernel on a device
struct Pool {
  bool keeps = false;
  uint64_t kept = 0;  // bytes that were freed and not taken again
};
std::map<int, Pool> pools;  // by device

#if defined(__SANITIZE_ADDRESS__)
// From the sanitizer, which sees what leaves it.
void* take_poisoned(uint64_t bytes) {
  void* const memory = std::aligned_alloc(256, (std::max<uint64_t>(bytes, 1) + 255) / 256 * 256);
  if (memory) std::memset(memory, 0xff, bytes);
  return memory;
}
void give_poisoned(void* memory, uint64_t) { std::free(memory); }
#else
// The pages are the same ones until they are written: each device that is opened takes 16 MB, and few tests fill them.
void* take_poisoned(uint64_t bytes) {
  constexpr uint64_t kPiece = uint64_t{1} << 20;
  static const int poison = [] {
    const int file = memfd_create("poison", MFD_CLOEXEC);
    const std::vector<unsigned char> piece(kPiece, 0xff);
    return write(file, piece.data(), kPiece) == static_cast<ssize_t>(kPiece) ? file : -1;
  }();
  bytes = std::max<uint64_t>(bytes, 1);
  void* const memory = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  auto* const begin = static_cast<unsigned char*>(memory);
  for (uint64_t at = 0; at < bytes; at += kPiece) {
    const void* const mapped =
        mmap(begin + at, std::min(kPiece, bytes - at), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, poison, 0);
    if (mapped == MAP_FAILED) {
      munmap(memory, bytes);
      return nullptr;
    }
  }
  return memory;
}
void give_poisoned(void* memory, uint64_t bytes) { munmap(memory, std::max<uint64_t>(bytes, 1)); }
#endif

bool device_range(const void* p, uint64_t bytes) { return machine().heap.live(p, bytes); }
bool exists(int device) { return device >= 0 && device < machine().settings.devices; }
uint64_t memory_of(int device) { return machine().settings.memory * static_cast<uint64_t>(device + 1); }

}  // namespace
}  // namespace nvlm::gpu

namespace nvlm::emulator {

bool is_pinned(const void* address, uint64_t bytes) {
  auto* at = static_cast<unsigned char*>(const_cast<void*>(address));
  auto next = gpu::pinned.upper_bound(at);
  if (next == gpu::pinned.begin()) return false;
  const auto& [begin, size] = *std::prev(next);
  return bytes <= size && static_cast<uint64_t>(at - begin) <= size - bytes;
}

}  // namespace nvlm::emulator

namespace nvlm::gpu {

// ---- Devices ----

Status device_count(int* count) {
  *count = machine().settings.devices;
  return Status::ok;
}

Status device_info(int device, DeviceInfo* info) {
  if (!exists(device)) return answer(Status::invalid, "there is no such emulated device");
  const emulator::Settings& s = machine().settings;
  *info = {};
  std::strcpy(info->name, "Emulator");
  info->major = s.major;
  info->minor = s.minor;
  info->multiprocessors = s.multiprocessors;
  info->shared_per_block = s.shared_per_block;
  info->l2_bytes = 4 << 20;
  info->memory = memory_of(device);
  info->pci_domain = 0xffff;  // the last address that could be: no GPU of the machine that emulates
  info->pci_bus = 0xff;
  info->pci_device = 0x1f;
  return Status::ok;
}

Status driver_version(int* version) {
  *version = machine().settings.driver;
  return Status::ok;
}

Status use_device(int device) {
  const std::lock_guard lock(device_mutex);
  ++machine().counters.contexts;
  if (!exists(device)) return answer(Status::invalid, "there is no such emulated device");
  thread_device = device;
  return Status::ok;
}

Status current_device(int* device) {
  *device = thread_device;
  return state();
}

void keep_loaded() {}  // this one has no state of threads

Status memory_info(uint64_t* free, uint64_t* total) {
  const std::lock_guard lock(device_mutex);
  ++machine().counters.contexts;
  *total = memory_of(thread_device);
  *free = *total - std::min(*total, machine().heap.used() + pools[thread_device].kept);
  return state();
}

// ---- Memory ----

Status keep_freed_memory() {
  const std::lock_guard lock(device_mutex);
  pools[thread_device].keeps = true;
  return state();
}

Status alloc(void** memory, uint64_t bytes, Stream stream) {
  const std::lock_guard lock(device_mutex);
  *memory = nullptr;
  if (stream && stream->capture) return answer(Status::invalid, "memory is not taken within a graph");
  if (no_memory_now())
    return answer(Status::out_of_memory, "there is no memory for " + std::to_string(bytes) + " bytes");
  unsigned char* address = machine().heap.take(bytes, machine().settings.memory);
  if (!address) {
    // Frees that are still on their way give memory back.
    for (Stream s : streams) run_until([s] { return s->work.empty(); });
    address = machine().heap.take(bytes, machine().settings.memory);
  }
  if (!address)
    return answer(Status::out_of_memory, "the emulated device has no " + std::to_string(bytes) + " bytes left");
  *memory = address;
  uint64_t& kept = pools[thread_device].kept;
  kept -= std::min(kept, bytes);
  return enqueue(stream, {nullptr, [address] { machine().heap.make_live(address); }});
}

Status free(void* memory, Stream stream) {
  const std::lock_guard lock(device_mutex);
  auto* address = static_cast<unsigned char*>(memory);
  if (!machine().heap.known(address)) {
    trap("memory", "something is freed that was not allocated, or twice");
    return state();
  }
  if (!machine().fault.empty()) {  // so that a test can go on after a fault
    machine().heap.give_back(address);
    return state();
  }
  return enqueue(stream, {nullptr, [address, &pool = pools[thread_device]] {
                            const uint64_t before = machine().heap.used();
                            machine().heap.give_back(address);
                            if (pool.keeps) pool.kept += before - machine().heap.used();
                          }});
}

Status trim() {
  const std::lock_guard lock(device_mutex);
  pools[thread_device].kept = 0;
  return state();
}

Status alloc_pinned(void** memory, uint64_t bytes) {
  const std::lock_guard lock(device_mutex);
  *memory = nullptr;
  if (no_memory_now()) return answer(Status::out_of_memory, "there is no page-locked memory");
  *memory = take_poisoned(bytes);
  if (!*memory) return answer(Status::out_of_memory, "the system refused page-locked memory");
  pinned[static_cast<unsigned char*>(*memory)] = bytes;
  return state();
}

Status free_pinned(void* memory) {
  const std::lock_guard lock(device_mutex);
  // CUDA waits for the device here.
  for (Stream s : streams) run_until([s] { return s->work.empty(); });
  const auto found = pinned.find(static_cast<unsigned char*>(memory));
  if (found == pinned.end()) {
    trap("memory", "page-locked memory is freed that was not allocated");
    return state();
  }
  give_poisoned(memory, found->second);
  pinned.erase(found);
  return state();
}

// ---- Copies ----

Status copy_to_device(void* device, const void* host, uint64_t bytes, Stream stream) {
  const std::lock_guard lock(device_mutex);
  if (bytes == 0) return state();
  if (!emulator::is_pinned(host, bytes))
    trap("copies", "an asynchronous copy from host memory that is not page-locked");
  return enqueue(stream, {nullptr, [=] {
                            if (!device_range(device, bytes))
                              return trap("bounds", "a copy to the device that leaves its allocation");
                            if (!emulator::is_pinned(host, bytes))
                              return trap("copies", "page-locked memory was freed before its copy happened");
                            std::memcpy(device, host, bytes);
                            machine().heap.mark_written(device, bytes);
                          }});
}

Status copy_to_host(void* host, const void* device, uint64_t bytes, Stream stream) {
  const std::lock_guard lock(device_mutex);
  if (bytes == 0) return state();
  if (!emulator::is_pinned(host, bytes)) trap("copies", "an asynchronous copy to host memory that is not page-locked");
  if (!stream->capture) std::memset(host, 0xff, bytes);
  return enqueue(stream, {nullptr, [=] {
                            if (!device_range(device, bytes))
                              return trap("bounds", "a copy from the device that leaves its allocation");
                            if (!emulator::is_pinned(host, bytes))
                              return trap("copies", "page-locked memory was freed before its copy happened");
                            std::memcpy(host, device, bytes);
                          }});
}

Status copy_on_device(void* to, const void* from, uint64_t bytes, Stream stream) {
  const std::lock_guard lock(device_mutex);
  if (bytes == 0) return state();
  return enqueue(stream, {nullptr, [=] {
                            if (!device_range(to, bytes) || !device_range(from, bytes))
                              return trap("bounds", "a copy on the device that leaves its allocation");
                            std::memmove(to, from, bytes);
                            const emulator::Region& region = machine().heap.region();
                            std::memmove(region.state + region.offset(to), region.state + region.offset(from), bytes);
                          }});
}

Status fill(void* device, int byte, uint64_t bytes, Stream stream) {
  const std::lock_guard lock(device_mutex);
  if (bytes == 0) return state();
  return enqueue(stream, {nullptr, [=] {
                            if (!device_range(device, bytes))
                              return trap("bounds", "a fill that leaves its allocation");
                            std::memset(device, byte, bytes);
                            machine().heap.mark_written(device, bytes);
                          }});
}

// ---- Launching ----

Status detail::set_shared_limit(const void* kernel, uint32_t bytes) {
  const std::lock_guard lock(device_mutex);
  if (bytes > static_cast<uint32_t>(machine().settings.shared_per_block))
    return answer(Status::invalid, "more shared memory than the device has for a block");
  uint32_t& allowed = allowed_shared.try_emplace({kernel, thread_device}, kFreeShared).first->second;
  if (bytes < allowed) trap("shared memory", "a kernel's limit is lowered, which another thread may be about to need");
  allowed = bytes;
  return state();
}

Status detail::launch(const void* kernel, void (*call)(const void*, const void*), const Launch& shape, const void* args,
                      size_t args_bytes) {
  const std::lock_guard lock(device_mutex);
  if (!machine().settings.has_kernels)
    return answer(Status::no_kernel, "no kernel image is available for execution on the device");
  const uint64_t threads = uint64_t{shape.block.x} * shape.block.y * shape.block.z,
                 blocks = uint64_t{shape.grid.x} * shape.grid.y * shape.grid.z;
  if (threads == 0 || threads > 1024 || blocks == 0 || shape.grid.x > 0x7fffffffu || shape.grid.y > 65535 ||
      shape.grid.z > 65535) {
    return answer(Status::invalid, "a launch of no threads, or of more than a GPU takes");
  }
  if (shape.cluster != 1) return answer(Status::invalid, "clusters are not emulated yet");
  const auto allowed = allowed_shared.find({kernel, thread_device});
  if (shape.shared > (allowed == allowed_shared.end() ? kFreeShared : allowed->second)) {
    return answer(Status::invalid, "more than 48 KB of shared memory were not allowed before the launch");
  }
  machine().counters.ordinary_launches += !shape.dependent;
  const auto* bytes = static_cast<const unsigned char*>(args);
  // The first launch of a graph follows all that the stream did before.
  const bool first_of_graph = streams.count(shape.stream) && shape.stream->capture && shape.stream->capture->empty();
  const emulator::KernelLaunch made{kernel,
                                    call,
                                    shape.grid,
                                    shape.block,
                                    shape.shared,
                                    {bytes, bytes + args_bytes},
                                    shape.dependent && !first_of_graph};
  return enqueue(shape.stream, {nullptr, nullptr, std::make_shared<const emulator::KernelLaunch>(made)});
}

}  // namespace nvlm::gpu
