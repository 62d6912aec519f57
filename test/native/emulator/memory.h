// The emulated device's memory, and what is known of every byte of it.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "emulator/races.h"

namespace nvlm::emulator {

enum Byte : uint8_t { kNobodys = 0, kUnwritten = 1, kWritten = 2 };

// Memory with a state per byte and, for races, the last accesses per 16 bytes or, where these were not used together,
// per two.
struct Region {
  unsigned char* begin = nullptr;
  unsigned char* end = nullptr;
  uint8_t* state = nullptr;  // Byte, one per byte
  Cell* wholes = nullptr;    // one per kWhole bytes
  Cell* cells = nullptr;     // one per kGranule bytes, for those wholes that are split
  bool contains(const void* p) const { return p >= begin && p < end; }
  uint64_t offset(const void* p) const { return static_cast<uint64_t>(static_cast<const unsigned char*>(p) - begin); }
};

// Address space for `bytes` with its states and cells; nothing is used before it is touched.
Region reserve_region(uint64_t bytes);
void release_region(Region& region);

// Global memory: allocations with redzones between them, freed ones poisoned.
class DeviceHeap {
 public:
  DeviceHeap();
  ~DeviceHeap() { release_region(region_); }
  DeviceHeap(const DeviceHeap&) = delete;
  DeviceHeap& operator=(const DeviceHeap&) = delete;
  const Region& region() const { return region_; }

  // Null when it does not fit. The bytes belong to nobody until `make_live`.
  unsigned char* take(uint64_t bytes, uint64_t limit);
  // Stream order has reached the allocation.
  void make_live(unsigned char* address);
  // False: no such allocation. The place is used again for others.
  bool give_back(unsigned char* address);
  bool known(const unsigned char* address) const { return allocations_.count(const_cast<unsigned char*>(address)) > 0; }
  // [address, address + bytes) lies in one live allocation.
  bool live(const void* address, uint64_t bytes) const;
  void mark_written(const void* address, uint64_t bytes);
  // The first byte of the range that nobody has written, or `bytes`.
  uint64_t first_unwritten(const void* address, uint64_t bytes) const;
  uint64_t used() const { return used_; }
  uint64_t count() const { return allocations_.size(); }

 private:
  struct Allocation {
    uint64_t bytes;
    bool live;
  };
  Region region_;
  std::map<unsigned char*, Allocation> allocations_;
  uint64_t used_ = 0;
};

}  // namespace nvlm::emulator
