#include "emulator/races.h"

#include <algorithm>

namespace nvlm::emulator {
namespace {

// Unordered readers of one cell: one a warp and block.
struct Crowd {
  std::vector<Access> readers;
  size_t last = 0;  // whose warp read last: mostly it is the next one too
};
std::vector<Crowd> crowds(1);  // number 0 is none

bool ordered(const Access& earlier, const Actor& later) {
  if (earlier.clock == 0) return true;
  if (earlier.kind == Access::pending_copy) return false;
  const Knowledge& knows = *later.knows;
  if (earlier.block == later.block) {
    if (earlier.thread == later.thread) return true;
    if (earlier.thread / 32 == later.thread / 32 && knows.warp[earlier.thread % 32] >= earlier.clock) return true;
    return knows.block && (*knows.block)[earlier.thread] >= earlier.clock;
  }
  if (!knows.others) return false;
  if (!later.grid->blocks.contains(earlier.block)) {
    const std::vector<BlockRange>& before = later.grid->before;
    return knows.others->waited &&
           std::any_of(before.begin(), before.end(), [&](const BlockRange& r) { return r.contains(earlier.block); });
  }
  const auto found = knows.others->clocks.find(earlier.block);
  return found != knows.others->clocks.end() && (*found->second)[earlier.thread] >= earlier.clock;
}

void start_anew(Cell& cell, const Actor& actor) {
  if (cell.era == actor.era) return;
  cell = {};
  cell.era = actor.era;
}

}  // namespace

void GridOrder::follow(const GridOrder& earlier) {
  before = earlier.before;
  if (!before.empty() && before.back().end == earlier.blocks.first) {
    before.back().end = earlier.blocks.end;
  } else {
    before.push_back(earlier.blocks);
  }
}

std::optional<Conflict> note_read(Cell& cell, const Actor& actor, uint8_t bytes, Access::Kind kind) {
  start_anew(cell, actor);
  const bool both_atomic = cell.writer.kind == Access::atomic && kind == Access::atomic;
  if ((cell.writer.bytes & bytes) && !both_atomic && !ordered(cell.writer, actor))
    return Conflict{"it was written", cell.writer};
  const Access me{actor.block, actor.knows->clock, actor.thread, bytes, kind};
  if (cell.crowd == 0) {
    if (ordered(cell.reader, actor)) {
      cell.reader = me;
      return {};
    }
    cell.crowd = static_cast<uint32_t>(crowds.size());
    crowds.push_back({{cell.reader}, 0});
  }
  auto& [readers, last] = crowds[cell.crowd];
  // Those of launches that were waited for need not be remembered.
  if (!readers.empty() && !actor.grid->blocks.contains(readers.back().block))
    std::erase_if(readers, [&](const Access& a) { return ordered(a, actor); });
  const auto of_my_warp = [&](const Access& a) { return a.block == me.block && a.thread / 32 == me.thread / 32; };
  if (last >= readers.size() || !of_my_warp(readers[last])) {
    last = static_cast<size_t>(std::find_if(readers.begin(), readers.end(), of_my_warp) - readers.begin());
    if (last == readers.size()) readers.emplace_back();
  }
  readers[last] = me;
  return {};
}

std::optional<Conflict> note_write(Cell& cell, const Actor& actor, uint8_t bytes, Access::Kind kind) {
  start_anew(cell, actor);
  const auto clashes = [&](const Access& earlier) {
    return (earlier.bytes & bytes) && !(earlier.kind == Access::atomic && kind == Access::atomic) &&
           !ordered(earlier, actor);
  };
  if (clashes(cell.writer)) return Conflict{"it was written", cell.writer};
  if (cell.crowd == 0) {
    if (clashes(cell.reader)) return Conflict{"it was read", cell.reader};
  } else {
    for (const Access& reader : crowds[cell.crowd].readers) {
      if (clashes(reader)) return Conflict{"it was read", reader};
    }
  }
  cell.writer = {actor.block, actor.knows->clock, actor.thread, bytes, kind};
  cell.reader = {};
  cell.crowd = 0;
  return {};
}

void split(Cell& whole, Cell* granules, uint32_t era) {
  if (is_split(whole, era)) return;
  if (whole.era == era) {
    for (Cell* cell = granules; cell < granules + kWhole / kGranule; ++cell) {
      *cell = whole;
      if (whole.crowd == 0) continue;
      cell->crowd = static_cast<uint32_t>(crowds.size());
      crowds.push_back(Crowd(crowds[whole.crowd]));
    }
  }
  whole = {};
  whole.era = era;
  whole.crowd = kSplit;
}

void copy_arrived(Cell& cell, const Actor& actor) {
  if (cell.era != actor.era || cell.writer.kind != Access::pending_copy) return;
  cell.writer.kind = Access::plain;
  cell.writer.clock = actor.knows->clock;
}

void forget_crowds() { crowds.resize(1); }

std::shared_ptr<const OtherBlocks> merged(const std::shared_ptr<const OtherBlocks>& a,
                                          const std::shared_ptr<const OtherBlocks>& b) {
  if (!a || a == b) return b;
  if (!b) return a;
  auto both = std::make_shared<OtherBlocks>(*a);
  both->waited |= b->waited;
  for (const auto& [block, clocks] : b->clocks) {
    std::shared_ptr<const Clocks>& mine = both->clocks[block];
    if (!mine) {
      mine = clocks;
      continue;
    }
    auto most = std::make_shared<Clocks>(*mine);
    for (size_t t = 0; t < most->size(); ++t) (*most)[t] = std::max((*most)[t], (*clocks)[t]);
    mine = most;
  }
  return both;
}

namespace {

std::shared_ptr<const Clocks> latest(const std::shared_ptr<const Clocks>& a, const std::shared_ptr<const Clocks>& b) {
  if (!a || a == b) return b;
  if (!b) return a;
  auto most = std::make_shared<Clocks>(*a);
  for (size_t t = 0; t < most->size(); ++t) (*most)[t] = std::max((*most)[t], (*b)[t]);
  return most;
}

}  // namespace

void join_warp(const std::vector<Knowledge*>& by_lane) {
  uint32_t warp[32] = {};
  std::shared_ptr<const Clocks> block;
  std::shared_ptr<const OtherBlocks> others;
  for (size_t lane = 0; lane < by_lane.size(); ++lane) {
    const Knowledge* k = by_lane[lane];
    if (!k) continue;
    for (int other = 0; other < 32; ++other) warp[other] = std::max(warp[other], k->warp[other]);
    warp[lane] = std::max(warp[lane], k->clock);
    block = latest(block, k->block);
    others = merged(others, k->others);
  }
  for (Knowledge* k : by_lane) {
    if (!k) continue;
    std::copy(warp, warp + 32, k->warp);
    k->block = block;
    k->others = others;
    ++k->clock;
  }
}

void join_block(const std::vector<Knowledge*>& threads, const std::vector<bool>& arrived,
                const std::vector<bool>& waited) {
  auto clocks = std::make_shared<Clocks>(threads.size(), 0);
  std::shared_ptr<const OtherBlocks> others;
  const Clocks* seen = nullptr;
  for (size_t t = 0; t < threads.size(); ++t) {
    if (!arrived[t]) continue;
    const Knowledge& k = *threads[t];
    if (k.block && k.block.get() != seen) {
      seen = k.block.get();
      for (size_t u = 0; u < clocks->size(); ++u) (*clocks)[u] = std::max((*clocks)[u], (*seen)[u]);
    }
    const size_t first = t / 32 * 32;
    for (size_t lane = 0; lane < 32 && first + lane < clocks->size(); ++lane)
      (*clocks)[first + lane] = std::max((*clocks)[first + lane], k.warp[lane]);
    (*clocks)[t] = std::max((*clocks)[t], k.clock);
    others = merged(others, k.others);
  }
  for (size_t t = 0; t < threads.size(); ++t) {
    if (!arrived[t]) continue;
    ++threads[t]->clock;
    if (!waited[t]) continue;
    threads[t]->block = clocks;
    threads[t]->others = others;
  }
}

void acquire_release(Knowledge& thread, uint32_t block, uint32_t thread_number, uint32_t block_threads,
                     std::shared_ptr<const OtherBlocks>& variable) {
  // Acquire.
  thread.others = merged(thread.others, variable);
  // Release: what this thread knows of its own block, and of all others.
  auto mine = std::make_shared<Clocks>(block_threads, 0);
  if (thread.block) *mine = *thread.block;
  const uint32_t first = thread_number / 32 * 32;
  for (uint32_t lane = 0; lane < 32 && first + lane < block_threads; ++lane)
    (*mine)[first + lane] = std::max((*mine)[first + lane], thread.warp[lane]);
  (*mine)[thread_number] = thread.clock;
  auto all = std::make_shared<OtherBlocks>();
  all->clocks[block] = mine;
  variable = merged(thread.others, all);
  ++thread.clock;
}

void have_waited(Knowledge& thread) {
  static const auto known = std::make_shared<const OtherBlocks>(OtherBlocks{true, {}});
  thread.others = merged(thread.others, known);
}

}  // namespace nvlm::emulator
