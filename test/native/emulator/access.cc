// Every access to memory ends here: those of instrumented kernels (hooks.cc), and those of instructions that the
// emulator carries out itself.
#include <link.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "emulator/machine.h"
#include "emulator/traffic.h"

namespace nvlm::emulator {
namespace {

const char* verb(bool write) { return write ? "written" : "read"; }

std::string bytes_at(const char* space, uint64_t offset, uint64_t bytes) {
  return std::to_string(bytes) + " bytes at " + std::to_string(offset) + " of " + space + " memory";
}

// Where this program and its libraries lie: tables of constants are read from there.
bool in_an_image(const void* address) {
  struct Query {
    uintptr_t address;
    bool found;
  } query{reinterpret_cast<uintptr_t>(address), false};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        auto& q = *static_cast<Query*>(data);
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& segment = info->dlpi_phdr[i];
          if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W)) continue;
          const uintptr_t begin = info->dlpi_addr + segment.p_vaddr;
          if (q.address >= begin && q.address < begin + segment.p_memsz) q.found = true;
        }
        return q.found ? 1 : 0;
      },
      &query);
  return query.found;
}

// Whether every byte is kWritten, for the sizes that kernels access.
bool all_written(const uint8_t* state, uint64_t bytes) {
  const auto same = [state](auto expected, uint64_t at) {
    std::memset(&expected, kWritten, sizeof expected);
    return std::memcmp(state + at, &expected, sizeof expected) == 0;
  };
  switch (bytes) {
    case 1: return *state == kWritten;
    case 2: return same(uint16_t{}, 0);
    case 4: return same(uint32_t{}, 0);
    case 8: return same(uint64_t{}, 0);
    case 16: return same(uint64_t{}, 0) && same(uint64_t{}, 8);
    default: return false;
  }
}

// Bounds and unwritten bytes of a region. False: trapped (only on the host, where trap returns).
bool check_state(const Region& region, const char* space, const void* address, uint64_t bytes, bool write) {
  const uint64_t offset = region.offset(address);
  const uint8_t* state = region.state + offset;
  if (all_written(state, bytes)) return true;
  uint8_t least = kWritten;
  for (uint64_t i = 0; i < bytes; ++i) least = std::min(least, state[i]);
  if (least == kNobodys) {
    trap("bounds", bytes_at(space, offset, bytes) + " are " + verb(write) + ", which belong to nobody");
    return false;
  }
  if (!write && least == kUnwritten && instrumented()) {  // else what plain stores write is not known
    trap("unwritten", bytes_at(space, offset, bytes) + " are read, but nothing was written there");
    return false;
  }
  if (write && least != kWritten) std::fill_n(region.state + offset, bytes, static_cast<uint8_t>(kWritten));
  return true;
}

const Region* region_of(const void* address, const char** space) {
  Machine& m = machine();
  if (m.heap.region().contains(address)) {
    *space = "global";
    return &m.heap.region();
  }
  if (current->block->shared.contains(address)) {
    *space = "shared";
    return &current->block->shared;
  }
  return nullptr;
}

void check_elsewhere(const void* address, uint64_t bytes, bool write) {
  const StackRange stacks = stack_range();
  const auto* at = static_cast<const unsigned char*>(address);
  if (at >= stacks.begin && at < stacks.end) {
    if (at < current->fiber.stack || at + bytes > current->fiber.stack + kStackBytes)
      trap("host memory", "a thread uses another thread's local variables");
    return;
  }
  if (is_pinned(address, bytes)) return;
  const std::vector<unsigned char>& args = current->block->grid->launch->args;
  if (!write && at >= args.data() && at + bytes <= args.data() + args.size()) return;
  if (!write && in_an_image(address)) return;
  trap("host memory", "a kernel " + std::string(write ? "writes" : "reads") + " memory that is not the device's");
}

// The current thread, as one that touches the region.
Actor actor_in(const Region& region) {
  const Block& block = *current->block;
  return {&region == &block.shared ? block.serial : block.grid->era, block.serial,
          static_cast<uint16_t>(current->number), &current->knows, &block.grid->order};
}

// Calls note(cell, which of its bytes) for all cells that remember the accesses to a range.
template <typename Note>
void each_cell(const Region& region, uint32_t era, uint64_t begin, uint64_t end, const Note& note) {
  while (begin < end) {
    const uint64_t number = begin / kWhole, behind = std::min(end, (number + 1) * kWhole);
    Cell& whole = region.wholes[number];
    if (behind - begin == kWhole && !is_split(whole, era)) {
      note(whole, uint8_t{(1 << kGranule) - 1});
      begin = behind;
      continue;
    }
    split(whole, region.cells + number * (kWhole / kGranule), era);
    while (begin < behind) {
      const uint64_t granule = begin / kGranule, next = std::min(behind, (granule + 1) * kGranule);
      uint8_t mask = 0;
      for (; begin < next; ++begin) mask |= static_cast<uint8_t>(1u << begin % kGranule);
      note(region.cells[granule], mask);
    }
  }
}

std::string sentence(const Conflict& conflict) {
  const Access& earlier = conflict.earlier;
  return std::string(conflict.what) + " by thread " + std::to_string(earlier.thread) + " of " +
         machine().name_of(earlier.block, *current->block->grid) +
         (earlier.kind == Access::pending_copy ? ", an asynchronous copy that was not waited for"
                                               : ", and nothing orders the two");
}

}  // namespace

void access(const void* address, uint64_t bytes, bool write, Access::Kind kind) {
  Machine& m = machine();
  if (!current) {
    if (m.heap.region().contains(address)) trap("host memory", "the host uses device memory without a copy");
    return;
  }
  const char* space = "";
  const Region* region = region_of(address, &space);
  if (!region) return check_elsewhere(address, bytes, write);
  ++m.counters.accesses;
  check_state(*region, space, address, bytes, write);
  const Actor actor = actor_in(*region);
  const uint64_t begin = region->offset(address);
  each_cell(*region, actor.era, begin, begin + bytes, [&](Cell& cell, uint8_t mask) {
    const std::optional<Conflict> conflict =
        write ? note_write(cell, actor, mask, kind) : note_read(cell, actor, mask, kind);
    if (conflict) trap("race", bytes_at(space, begin, bytes) + " are " + verb(write) + "; " + sentence(*conflict));
  });
}

uint4 load_streaming(const void* global) {
  if (reinterpret_cast<uintptr_t>(global) % 16)
    trap("alignment", "a load of 16 bytes from an address that is not a multiple of 16");
  if (!machine().heap.region().contains(global)) trap("bounds", "a global load from elsewhere");
  if (traffic_counted) note_traffic(__builtin_return_address(0), global, 16);
  access(global, 16, false, Access::plain);
  return *static_cast<const uint4*>(global);
}

// ---- Asynchronous copies to shared memory ----

namespace {

// The bytes, or zeros; once, since the source may have changed meanwhile.
void bring(PendingCopy& copy) {
  if (copy.done) return;
  if (copy.valid) {
    std::copy_n(copy.from, 16, copy.to);
  } else {
    std::fill_n(copy.to, 16, static_cast<unsigned char>(0));
  }
  copy.done = true;
}

void arrive(Thread& thread, PendingCopy& copy) {
  bring(copy);
  const Region& shared = thread.block->shared;
  const Actor actor{thread.block->serial, thread.block->serial, static_cast<uint16_t>(thread.number), &thread.knows,
                    &thread.block->grid->order};
  const uint64_t begin = shared.offset(copy.to);
  each_cell(shared, actor.era, begin, begin + 16, [&](Cell& cell, uint8_t) { copy_arrived(cell, actor); });
}

}  // namespace

void copy_async(void* shared, const void* global, bool valid) {
  Thread& thread = *current;
  if (!thread.block->shared.contains(shared))
    trap("copies", "an asynchronous copy to what is not the block's shared memory");
  if (reinterpret_cast<uintptr_t>(shared) % 16 || reinterpret_cast<uintptr_t>(global) % 16)
    trap("copies", "an asynchronous copy with an address that is not aligned to 16 bytes");
  if (traffic_counted) note_traffic(__builtin_return_address(0), shared, 16);
  if (valid) {
    if (traffic_counted) note_traffic(__builtin_return_address(0), global, 16);
    if (!machine().heap.region().contains(global))
      trap("copies", "an asynchronous copy from what is not global memory");
    access(global, 16, false, Access::plain);
  }
  access(shared, 16, true, Access::pending_copy);
  PendingCopy copy{static_cast<unsigned char*>(shared), static_cast<const unsigned char*>(global), valid, false, -1};
  if (machine().completes_early()) {
    bring(copy);  // the bytes are there, but nobody may count on it
  } else {
    std::fill_n(copy.to, 16, static_cast<unsigned char>(0xff));
  }
  thread.copies.push_back(copy);
}

void commit_copies() {
  Thread& thread = *current;
  for (PendingCopy& copy : thread.copies) {
    if (copy.group < 0) copy.group = thread.groups;
  }
  ++thread.groups;
}

void wait_copies(int pending) { finish_copies(*current, current->groups - pending); }

void finish_copies(Thread& thread, int up_to_group) {
  for (PendingCopy& copy : thread.copies) {
    if (copy.group >= 0 && copy.group < up_to_group) arrive(thread, copy);
  }
  std::erase_if(thread.copies, [&](const PendingCopy& copy) { return copy.group >= 0 && copy.group < up_to_group; });
}

// ---- Atomics and fences ----

namespace {

// What the atomics on one address told, within the launch: what others told means nothing to it.
std::shared_ptr<const OtherBlocks>& variable(const void* address) { return current->block->grid->variables[address]; }

uint32_t add(uint32_t* address, uint32_t value) {
  if (!machine().heap.region().contains(address)) trap("bounds", "a global atomic elsewhere");
  if (reinterpret_cast<uintptr_t>(address) % 4)
    trap("alignment", "an atomic on an address that is not a multiple of 4");
  access(address, 4, false, Access::atomic);
  access(address, 4, true, Access::atomic);
  const uint32_t old = *address;
  *address = old + value;
  return old;
}

}  // namespace

uint32_t add_acquire_release(uint32_t* address, uint32_t value) {
  Thread& thread = *current;
  const uint32_t old = add(address, value);
  acquire_release(thread.knows, thread.block->serial, thread.number, thread.block->threads, variable(address));
  return old;
}

// Relaxed by itself; with a fence before it releases, with one behind it acquires.
uint32_t atomic_add(uint32_t* address, uint32_t value) {
  Thread& thread = *current;
  const uint32_t old = add(address, value);
  std::shared_ptr<const OtherBlocks>& v = variable(address);
  thread.unfenced = merged(thread.unfenced, v);
  v = merged(v, thread.fenced);
  return old;
}

void thread_fence() {
  Thread& thread = *current;
  std::shared_ptr<const OtherBlocks> released = std::exchange(thread.unfenced, nullptr);
  acquire_release(thread.knows, thread.block->serial, thread.number, thread.block->threads, released);
  thread.fenced = released;
}

}  // namespace nvlm::emulator
