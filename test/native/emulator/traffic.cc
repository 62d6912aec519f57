// Lanes of a warp that execute the same instruction for the same time are one access, as they would be on a GPU, where
// they run in step. Which lanes take part is not known before the last one has: an access counts once the whole warp is
// in it, or when the block has ended.
#include "emulator/traffic.h"

#include <dlfcn.h>

#include <algorithm>
#include <deque>
#include <sstream>
#include <unordered_map>
#include <utility>

#include "emulator/machine.h"

namespace nvlm::emulator {

bool traffic_counted = false;

namespace {

constexpr uint64_t kSector = 32, kBanks = 32, kWord = 4, kMostBytes = 16;  // a lane's widest access

// One instruction of a warp. Lanes without an address take no part.
struct WarpAccess {
  uint64_t address[kWarp] = {};
  uint32_t lanes = 0;
};

// The accesses of one instruction by one warp that are not complete yet.
struct Open {
  uint64_t bytes = 0;  // of a lane
  bool shared = false;
  uint32_t times[kWarp] = {};  // how often each lane has come by
  uint32_t first = 0;          // number of the oldest open access
  std::deque<WarpAccess> access;
};

struct Count {
  uint64_t touched = 0, least = 0;
  void add(uint64_t t, uint64_t l) { touched += t, least += l; }
};

struct SiteCounts {
  Count sectors, passes;
};
using KernelCounts = std::unordered_map<uint64_t, SiteCounts>;  // by instruction

// The block that a place among the resident ones has now.
struct WarpState {
  uint32_t serial = 0;
  const void* kernel = nullptr;
  std::unordered_map<uint64_t, Open> open;  // by key_of
};

std::map<std::pair<const Block*, uint32_t>, WarpState> warps;
std::map<const void*, KernelCounts> kernels;
std::map<const void*, uint32_t> most_shared;  // of each kernel that was launched, whatever it accessed

// An instruction, and which piece of a wide access, or which side of a copy.
uint64_t key_of(const void* site, uint64_t piece, bool shared) {
  return reinterpret_cast<uintptr_t>(site) << 8 | std::min<uint64_t>(piece, 127) << 1 | (shared ? 1 : 0);
}
uint64_t site_of(uint64_t key) { return key >> 8; }

// All bytes asked for, as disjoint ranges in order.
std::vector<std::pair<uint64_t, uint64_t>> ranges(const WarpAccess& access, uint64_t bytes) {
  std::vector<std::pair<uint64_t, uint64_t>> all;
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    if (access.lanes >> lane & 1) all.emplace_back(access.address[lane], access.address[lane] + bytes);
  }
  std::sort(all.begin(), all.end());
  std::vector<std::pair<uint64_t, uint64_t>> merged;
  for (const auto& range : all) {
    if (!merged.empty() && range.first <= merged.back().second) {
      merged.back().second = std::max(merged.back().second, range.second);
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

void add_sectors(Count& count, const WarpAccess& access, uint64_t bytes) {
  uint64_t touched = 0, asked = 0, next = 0;  // next: the first sector not counted yet
  for (const auto& [begin, end] : ranges(access, bytes)) {
    const uint64_t first = std::max(begin / kSector, next), behind = (end - 1) / kSector + 1;
    touched += behind > first ? behind - first : 0;
    next = std::max(next, behind);
    asked += end - begin;
  }
  count.add(touched, (asked + kSector - 1) / kSector);
}

// 8 bytes a lane are served by half warps, 16 by quarters. In one pass each bank gives one word, to all that ask for
// it.
void add_passes(Count& count, const WarpAccess& access, uint64_t bytes) {
  const uint32_t group = bytes <= kWord ? 32 : bytes <= 2 * kWord ? 16 : 8;
  for (uint32_t first = 0; first < kWarp; first += group) {
    std::vector<uint64_t> words;
    for (uint32_t lane = first; lane < first + group; ++lane) {
      if (!(access.lanes >> lane & 1)) continue;
      for (uint64_t word = access.address[lane] / kWord; word <= (access.address[lane] + bytes - 1) / kWord; ++word)
        words.push_back(word);
    }
    std::sort(words.begin(), words.end());
    words.erase(std::unique(words.begin(), words.end()), words.end());
    uint64_t in_bank[kBanks] = {};
    for (const uint64_t word : words) ++in_bank[word % kBanks];
    count.add(*std::max_element(in_bank, in_bank + kBanks), (words.size() + kBanks - 1) / kBanks);
  }
}

void settle(const WarpState& warp, uint64_t key, const Open& open, const WarpAccess& access) {
  SiteCounts& counts = kernels[warp.kernel][site_of(key)];
  if (open.shared) {
    add_passes(counts.passes, access, open.bytes);
  } else {
    add_sectors(counts.sectors, access, open.bytes);
  }
}

void settle_all(WarpState& warp) {
  for (const auto& [key, open] : warp.open) {
    for (const WarpAccess& access : open.access) settle(warp, key, open, access);
  }
  warp.open.clear();
}

void note_piece(uint64_t key, uint64_t address, uint64_t bytes, bool shared) {
  const Thread& thread = *current;
  WarpState& warp = warps[{thread.block, thread.number / kWarp}];
  if (warp.serial != thread.block->serial) {
    settle_all(warp);
    warp.serial = thread.block->serial;
    warp.kernel = thread.block->grid->launch->kernel;
  }
  Open& open = warp.open[key];
  open.bytes = bytes;
  open.shared = shared;
  const uint32_t number = open.times[thread.lane]++ - open.first;
  while (open.access.size() <= number) open.access.emplace_back();
  WarpAccess& access = open.access[number];
  access.address[thread.lane] = address;
  access.lanes |= 1u << thread.lane;
  const uint32_t all = thread.warp->size == kWarp ? ~0u : (1u << thread.warp->size) - 1;
  while (!open.access.empty() && open.access.front().lanes == all) {
    settle(warp, key, open, open.access.front());
    open.access.pop_front();
    ++open.first;
  }
}

std::string in_program(uint64_t site) {
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(site), &info)) site -= reinterpret_cast<uintptr_t>(info.dli_fbase);
  std::ostringstream text;
  text << "0x" << std::hex << site;
  return text.str();
}

}  // namespace

void count_traffic(bool on) {
  traffic_counted = on;
  warps.clear();
  kernels.clear();
  most_shared.clear();
}

void note_launch(const void* kernel, uint32_t shared) {
  if (!traffic_counted) return;
  uint32_t& most = most_shared[kernel];
  most = std::max(most, shared);
}

void note_traffic(const void* site, const void* address, uint64_t bytes) {
  if (!current) return;
  const bool shared = current->block->shared.contains(address);
  if (!shared && !machine().heap.region().contains(address)) return;  // arguments, local variables
  for (uint64_t piece = 0; piece * kMostBytes < bytes; ++piece) {
    note_piece(key_of(site, piece, shared), reinterpret_cast<uintptr_t>(address) + piece * kMostBytes,
               std::min(kMostBytes, bytes - piece * kMostBytes), shared);
  }
}

std::map<std::string, Traffic> traffic() {
  for (auto& [place, warp] : warps) settle_all(warp);
  std::map<std::string, Traffic> all;
  for (const auto& [kernel, sites] : kernels) {
    Traffic& t = all[kernel_name(kernel)];
    uint64_t most = 0;
    for (const auto& [site, counts] : sites) {
      t.sectors += counts.sectors.touched;
      t.least_sectors += counts.sectors.least;
      t.passes += counts.passes.touched;
      t.least_passes += counts.passes.least;
      const uint64_t waste =
          counts.sectors.touched - counts.sectors.least + counts.passes.touched - counts.passes.least;
      if (waste > most) most = waste, t.worst = in_program(site);
    }
  }
  for (const auto& [kernel, bytes] : most_shared) all[kernel_name(kernel)].shared = bytes;
  return all;
}

}  // namespace nvlm::emulator
