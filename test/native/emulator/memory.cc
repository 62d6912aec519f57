#include "emulator/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) static_cast<void>(0)
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) static_cast<void>(0)
#endif

namespace nvlm::emulator {
namespace {

constexpr uint64_t kHeapBytes = uint64_t{1} << 30;
constexpr uint64_t kAlignment = 256;
constexpr uint64_t kRedzone = 256;  // between allocations
constexpr int kPoison = 0xff;       // a NaN as float32 and as bf16

void* reserve(uint64_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();  // a test program without address space
  return memory;
}

uint64_t rounded(uint64_t bytes) { return (std::max<uint64_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

Region reserve_region(uint64_t bytes) {
  Region r;
  r.begin = static_cast<unsigned char*>(reserve(bytes));
  r.end = r.begin + bytes;
  r.state = static_cast<uint8_t*>(reserve(bytes));
  r.wholes = static_cast<Cell*>(reserve(bytes / kWhole * sizeof(Cell)));
  r.cells = static_cast<Cell*>(reserve(bytes / kGranule * sizeof(Cell)));
  return r;
}

void release_region(Region& r) {
  if (!r.begin) return;
  const auto bytes = static_cast<uint64_t>(r.end - r.begin);
  ASAN_UNPOISON_MEMORY_REGION(r.begin, bytes);
  munmap(r.begin, bytes);
  munmap(r.state, bytes);
  munmap(r.wholes, bytes / kWhole * sizeof(Cell));
  munmap(r.cells, bytes / kGranule * sizeof(Cell));
  r = {};
}

DeviceHeap::DeviceHeap() : region_(reserve_region(kHeapBytes)) { ASAN_POISON_MEMORY_REGION(region_.begin, kHeapBytes); }

unsigned char* DeviceHeap::take(uint64_t bytes, uint64_t limit) {
  if (bytes > kHeapBytes || used_ + bytes > limit) return nullptr;
  // First fit.
  unsigned char* at = region_.begin + kRedzone;
  for (const auto& [address, allocation] : allocations_) {
    if (address >= at + rounded(bytes) + kRedzone) break;
    at = address + rounded(allocation.bytes) + kRedzone;
  }
  if (at + rounded(bytes) + kRedzone > region_.end) return nullptr;
  allocations_[at] = {bytes, false};
  used_ += bytes;
  return at;
}

void DeviceHeap::make_live(unsigned char* address) {
  const auto found = allocations_.find(address);
  if (found == allocations_.end()) return;
  found->second.live = true;
  ASAN_UNPOISON_MEMORY_REGION(address, found->second.bytes);
  std::memset(address, kPoison, found->second.bytes);
  std::memset(region_.state + region_.offset(address), kUnwritten, found->second.bytes);
}

bool DeviceHeap::give_back(unsigned char* address) {
  const auto found = allocations_.find(address);
  if (found == allocations_.end()) return false;
  if (found->second.live) {
    std::memset(address, kPoison, found->second.bytes);
    std::memset(region_.state + region_.offset(address), kNobodys, found->second.bytes);
    ASAN_POISON_MEMORY_REGION(address, found->second.bytes);
  }
  used_ -= found->second.bytes;
  allocations_.erase(found);
  return true;
}

bool DeviceHeap::live(const void* address, uint64_t bytes) const {
  auto* at = static_cast<unsigned char*>(const_cast<void*>(address));
  auto next = allocations_.upper_bound(at);
  if (next == allocations_.begin()) return false;
  const auto& [begin, allocation] = *std::prev(next);
  return allocation.live && bytes <= allocation.bytes && static_cast<uint64_t>(at - begin) <= allocation.bytes - bytes;
}

void DeviceHeap::mark_written(const void* address, uint64_t bytes) {
  std::memset(region_.state + region_.offset(address), kWritten, bytes);
}

uint64_t DeviceHeap::first_unwritten(const void* address, uint64_t bytes) const {
  const uint8_t* state = region_.state + region_.offset(address);
  return static_cast<uint64_t>(std::find_if(state, state + bytes, [](uint8_t s) { return s != kWritten; }) - state);
}

}  // namespace nvlm::emulator
