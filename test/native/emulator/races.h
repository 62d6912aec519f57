// Data races by vector clocks: every access is held against the last accesses of the same bytes, and must be ordered after the conflicting ones by barriers,
// warp barriers, waits for asynchronous copies, or acquire/release atomics. Shuffles and mma order nothing.
//
// A thread's clock counts its releases. What a thread knows of its own warp's clocks stands in `warp`, of the rest of its block in `block` (shared by
// all that left the same barrier), of other blocks in `others`. Known losses, each of which only hides races: readers of one warp are kept as one per
// cell; bytes of one cell written by different threads keep the last.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace nvlm::emulator {

constexpr uint64_t kGranule = 2;  // bytes a cell

struct Access {
  uint32_t block = 0, clock = 0;  // clock 0: none
  uint16_t thread = 0;
  uint8_t bytes = 0;  // which of the granule, as bits
  enum Kind : uint8_t { plain, pending_copy, atomic } kind = plain;
};

// The last accesses of one granule. Of another era (launch, for global memory; block, for shared memory): as good as none.
struct Cell {
  uint32_t era = 0;
  uint32_t crowd = 0;  // number of the list of readers, when several are unordered; 0: only `reader`
  Access writer, reader;
};

using Clocks = std::vector<uint32_t>;                       // by thread of a block
using OtherBlocks = std::map<uint32_t, std::shared_ptr<const Clocks>>;  // by block

// What one thread knows.
struct Knowledge {
  uint32_t clock = 1;
  std::shared_ptr<const Clocks> block;
  uint32_t warp[32] = {};
  std::shared_ptr<const OtherBlocks> others;
};

// Everything about one location that is used with acquire/release atomics.
using SyncVariables = std::map<const void*, std::shared_ptr<const OtherBlocks>>;

struct Actor {
  uint32_t era, block;
  uint16_t thread;
  const Knowledge* knows;
};

// Each answers an empty string, or the conflict. `kind` of a write: pending_copy stays forbidden to everybody until `copy_arrived`.
std::string note_read(Cell& cell, const Actor& actor, uint8_t bytes, Access::Kind kind);
std::string note_write(Cell& cell, const Actor& actor, uint8_t bytes, Access::Kind kind);
void copy_arrived(Cell& cell, const Actor& actor);
void forget_crowds();  // between launches

// The synchronising operations. Threads are numbered within their block.
void join_warp(const std::vector<Knowledge*>& by_lane);  // null: not taking part
// `threads`: everybody's knowledge by number. Those who arrived tell what they know; those who waited learn it.
void join_block(const std::vector<Knowledge*>& threads, const std::vector<bool>& arrived, const std::vector<bool>& waited);
// What either tells of other blocks.
std::shared_ptr<const OtherBlocks> merged(const std::shared_ptr<const OtherBlocks>& a, const std::shared_ptr<const OtherBlocks>& b);
void acquire_release(Knowledge& thread, uint32_t block, uint32_t thread_number, uint32_t block_threads, std::shared_ptr<const OtherBlocks>& variable);

}  // namespace nvlm::emulator
