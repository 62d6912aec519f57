// Data races by vector clocks: every access is held against the last accesses of the same bytes, and must be ordered
// after the conflicting ones by barriers, warp barriers, waits for asynchronous copies, acquire/release atomics, or
// waits for earlier launches. Shuffles and mma order nothing.
//
// A thread's clock counts its releases. What a thread knows of its own warp's clocks stands in `warp`, of the rest of
// its block in `block` (shared by all that left the same barrier), of other blocks, and of earlier launches, in
// `others`. Known losses, each of which only hides races: readers of one warp are kept as one per cell; bytes of one
// cell written by different threads keep the last.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace nvlm::emulator {

constexpr uint64_t kGranule = 2;  // bytes a cell
constexpr uint64_t kWhole = 16;   // bytes that share one cell until an access takes a part of them

struct Access {
  uint32_t block = 0, clock = 0;  // block: its serial number; clock 0: none
  uint16_t thread = 0;
  uint8_t bytes = 0;  // which of the granule, as bits
  enum Kind : uint8_t { plain, pending_copy, atomic } kind = plain;
};

// The last accesses of one granule. Of another era (for global memory: launches in a row that may overlap; for shared
// memory: a block): as good as none.
struct Cell {
  uint32_t era = 0;
  uint32_t crowd = 0;  // number of the list of readers, when several are unordered; 0: only `reader`
  Access writer, reader;
};

constexpr uint32_t kSplit = ~0u;  // in place of a crowd

using Clocks = std::vector<uint32_t>;  // by thread of a block

// Knowledge beyond a thread's own block.
struct OtherBlocks {
  bool waited = false;                                       // that the launches in GridOrder::before are complete
  std::map<uint32_t, std::shared_ptr<const Clocks>> clocks;  // by block, of the same launch
};

// What is told through each location that is used with acquire/release atomics.
using SyncVariables = std::map<const void*, std::shared_ptr<const OtherBlocks>>;

// What one thread knows.
struct Knowledge {
  uint32_t clock = 1;
  std::shared_ptr<const Clocks> block;
  uint32_t warp[32] = {};
  std::shared_ptr<const OtherBlocks> others;
};

// Serial numbers of blocks, the end excluded.
struct BlockRange {
  uint32_t first = 0, end = 0;
  bool contains(uint32_t block) const { return block >= first && block < end; }
};

// A launch among those of its era.
struct GridOrder {
  BlockRange blocks;               // its own
  std::vector<BlockRange> before;  // of earlier launches: complete, for the threads that have waited for them
  // The launch right before this one is complete: with it those that it had waited for itself, and no others.
  void follow(const GridOrder& earlier);
};

struct Actor {
  uint32_t era, block;
  uint16_t thread;
  const Knowledge* knows;
  const GridOrder* grid;
};

// Two accesses that nothing orders.
struct Conflict {
  const char* what;  // about the earlier one
  Access earlier;
};

// `kind` of a write: pending_copy stays forbidden to everybody until `copy_arrived`.
std::optional<Conflict> note_read(Cell& cell, const Actor& actor, uint8_t bytes, Access::Kind kind);
std::optional<Conflict> note_write(Cell& cell, const Actor& actor, uint8_t bytes, Access::Kind kind);
// What a cell of kWhole bytes remembers of the era goes to those of its granules, which are used from now on.
void split(Cell& whole, Cell* granules, uint32_t era);
inline bool is_split(const Cell& whole, uint32_t era) { return whole.era == era && whole.crowd == kSplit; }
void copy_arrived(Cell& cell, const Actor& actor);
void forget_crowds();  // between eras

// The synchronising operations. Threads are numbered within their block.
void join_warp(const std::vector<Knowledge*>& by_lane);  // null: not taking part
// `threads`: everybody's knowledge by number. Those who arrived tell what they know; those who waited learn it.
void join_block(const std::vector<Knowledge*>& threads, const std::vector<bool>& arrived,
                const std::vector<bool>& waited);
// What either tells of other blocks.
std::shared_ptr<const OtherBlocks> merged(const std::shared_ptr<const OtherBlocks>& a,
                                          const std::shared_ptr<const OtherBlocks>& b);
void acquire_release(Knowledge& thread, uint32_t block, uint32_t thread_number, uint32_t block_threads,
                     std::shared_ptr<const OtherBlocks>& variable);
void have_waited(Knowledge& thread);  // for earlier launches

}  // namespace nvlm::emulator
