// Launches in flight: when one begins, which of its blocks run, and how dependent ones wait for those before them.
//
// A dependent launch may begin once every block of the one before it has let it (one thread of a block is enough) or
// has ended, and until its threads have waited they know nothing of what earlier launches did. Waiting covers the
// launch right before alone: that the ones before that are complete is known only when that one has waited for them
// itself. All of this is on whatever compute capability is emulated: what is right when launches overlap is right when
// they don't.
#include <algorithm>
#include <numeric>

#include "emulator/machine.h"
#include "emulator/traffic.h"

namespace nvlm::emulator {

constexpr int kMostThreads = 1024;             // of a block
constexpr uint32_t kSharedBytes = 512 * 1024;  // of a slot: 227 KB and the gaps
constexpr size_t kMostSlots = kMaxFibers / kMostThreads;

void Machine::run(const std::vector<std::shared_ptr<const KernelLaunch>>& work, bool follows) {
  size_t next = 0;
  int idle = 0;
  while (fault.empty() && (next < work.size() || !flight.empty())) {
    if (next < work.size() && may_begin(*work[next])) {
      begin(work[next], follows || next > 0);
      ++next;
    }
    fill_slots();
    Block& block = *running[random.below(static_cast<uint32_t>(running.size()))];
    const uint32_t manner = block.grid->manner;
    Warp& warp = block.warp[random.below(static_cast<uint32_t>(block.warp.size()))];
    bool moved = step(block, warp, manner == 3);
    while (fault.empty() && manner < 2 && step(block, warp, false)) moved = true;
    if (block.live == 0) end(block);
    idle = moved ? 0 : idle + 1;
    if (idle > 0 && idle % 4096 == 0 && nothing_ready()) trap("hang", standstill());
  }
  flight.clear();  // after a fault some are left
  running.clear();
}

bool Machine::may_begin(const KernelLaunch& launch) {
  if (flight.empty()) return true;
  if (newest->complete()) return true;
  if (!launch.dependent || newest->let_next_begin < newest->blocks.size()) return false;
  return settings.completion == Completion::early ||
         (settings.completion == Completion::random && random.below(16) == 0);
}

void Machine::begin(const std::shared_ptr<const KernelLaunch>& launch, bool follows) {
  auto grid = std::make_shared<Grid>();
  grid->launch = launch;
  const dim3 shape = launch->grid;
  grid->blocks.resize(size_t{shape.x} * shape.y * shape.z);
  std::iota(grid->blocks.begin(), grid->blocks.end(), 0u);
  for (auto i = static_cast<uint32_t>(grid->blocks.size()); i > 1; --i)
    std::swap(grid->blocks[i - 1], grid->blocks[random.below(i)]);
  grid->order.blocks = {blocks + 1, blocks + 1 + static_cast<uint32_t>(grid->blocks.size())};
  blocks += static_cast<uint32_t>(grid->blocks.size());
  // How warps take turns: one runs ahead as far as it can, they alternate at every collective, or single lanes do.
  grid->manner = random.below(4);

  if (follows && newest) {
    if (launch->dependent) {
      grid->earlier = newest;
      counters.overlaps += !newest->complete();
    } else {
      grid->order.follow(newest->order);
    }
  }
  // Where all that is remembered is complete, it can be forgotten.
  const std::vector<BlockRange>& before = grid->order.before;
  const bool all_complete = before.size() == 1 && before[0].first == of_era.front().first.first;
  if (!grid->earlier && (before.empty() || all_complete)) {
    ++era;
    of_era.clear();
    forget_crowds();
    grid->order.before.clear();
  }
  grid->era = era;
  of_era.emplace_back(grid->order.blocks, launch->kernel);
  newest = grid;
  flight.push_back(grid);
  ++launches;
  note_launch(launch->kernel, launch->shared);
  if (++counters.launches == settings.fault_at) trap("planted", "a fault that the settings ask for");
}

// Each launch has as many resident blocks as if it were alone, as long as there are slots: those of a launch that
// begins early run beside the last ones of the launch before it. There is always room for a block that others wait for,
// since a launch begins when all blocks of the one before it have.
void Machine::fill_slots() {
  const auto most = static_cast<uint32_t>(std::clamp(settings.resident_blocks, 1, static_cast<int>(kMostSlots)));
  for (const std::shared_ptr<Grid>& grid : flight) {
    for (size_t s = 0; s < kMostSlots && grid->resident < most && grid->started < grid->blocks.size(); ++s) {
      if (s == slots.size()) {
        slots.push_back(std::make_unique<Block>());
        slots.back()->first_fiber = static_cast<int>(s) * kMostThreads;
        slots.back()->shared = reserve_region(kSharedBytes);
      }
      Block* slot = slots[s].get();
      if (std::find(running.begin(), running.end(), slot) != running.end()) continue;
      start(*slot, grid, grid->blocks[grid->started++]);
      ++grid->resident;
      running.push_back(slot);
    }
  }
}

void Machine::end(Block& block) {
  const std::shared_ptr<Grid> grid = block.grid;
  if (!block.lets_next_begin) ++grid->let_next_begin;
  --grid->resident;
  ++grid->ended;
  running.erase(std::find(running.begin(), running.end(), &block));
  if (!grid->complete()) return;
  flight.erase(std::find(flight.begin(), flight.end(), grid));
  for (Block* waiting : running) {
    if (waiting->grid->earlier != grid) continue;
    for (Thread& thread : waiting->thread) {
      if (thread.state == Thread::waiting && thread.wait.kind == Wait::earlier_launches) thread.become(Thread::ready);
    }
  }
}

bool Machine::nothing_ready() const {
  return std::none_of(running.begin(), running.end(), [](const Block* b) {
    return std::any_of(b->warp.begin(), b->warp.end(), [](const Warp& w) { return w.ready != 0; });
  });
}

std::string Machine::standstill() const {
  std::string words = "no thread can go on:";
  static constexpr const char* kKinds[] = {"nothing",  "a warp barrier", "a shuffle",       "a ballot",        "mma",
                                           "ldmatrix", "an arrival",     "a block barrier", "earlier launches"};
  int told = 0;
  for (const Block* block : running) {
    for (const Thread& t : block->thread) {
      if (t.state != Thread::waiting || told++ >= 4) continue;
      words += " thread " + std::to_string(t.number) + " of block " + std::to_string(block->number) + " of " +
               kernel_of(*block) + " waits at " + kKinds[t.wait.kind] + ";";
    }
  }
  return words;
}

std::string Machine::name_of(uint32_t block_serial, const Grid& seen_from) const {
  const auto found = std::find_if(of_era.begin(), of_era.end(),
                                  [&](const auto& launch) { return launch.first.contains(block_serial); });
  if (found == of_era.end()) return "a block";
  const std::string name = "block " + std::to_string(block_serial - found->first.first);
  return seen_from.order.blocks.contains(block_serial) ? name
                                                       : name + " of another launch, of " + kernel_name(found->second);
}

// ---- What kernels call ----

void let_next_launch_begin() {
  Block& block = *current->block;
  if (!block.lets_next_begin) ++block.grid->let_next_begin;
  block.lets_next_begin = true;
}

void wait_for_earlier_launches() {
  Thread& thread = *current;
  Grid& grid = *thread.block->grid;
  if (grid.earlier && !grid.earlier->complete()) {
    thread.wait.kind = Wait::earlier_launches;
    thread.become(Thread::waiting);
    leave(thread.fiber, false);
  }
  if (grid.earlier) {
    grid.order.follow(grid.earlier->order);
    grid.earlier = nullptr;
  }
  if (!grid.order.before.empty()) have_waited(thread.knows);
}

}  // namespace nvlm::emulator
