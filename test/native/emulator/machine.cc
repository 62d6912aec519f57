#include "emulator/machine.h"
#include "emulator/traffic.h"

#include <algorithm>
#include <bit>
#include <cstdlib>

namespace nvlm::emulator {

thread_local Thread* current = nullptr;

namespace {

constexpr uint32_t kMostThreads = 1024;
constexpr uint32_t kSharedBytes = 512 * 1024;  // of a slot: 227 KB and the gaps

std::string triple(uint3 i) {
  return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")";
}

uint3 at(uint32_t i, dim3 d) { return {i % d.x, i / d.x % d.y, i / (d.x * d.y)}; }

// By environment variables.
Settings overridden(Settings settings) {
  const auto number = [](const char* name, uint64_t& to) {
    if (const char* digits = std::getenv(name)) to = std::strtoull(digits, nullptr, 10);
  };
  number("NVLM_EMULATOR_SEED", settings.seed);
  number("NVLM_EMULATOR_MEMORY", settings.memory);
  number("NVLM_EMULATOR_FAIL_ALLOCATION", settings.fail_allocation);
  number("NVLM_EMULATOR_FAULT_AT", settings.fault_at);
  if (const char* kernels = std::getenv("NVLM_EMULATOR_KERNELS")) settings.has_kernels = *kernels != '0';
  if (const char* completion = std::getenv("NVLM_EMULATOR_COMPLETION")) {
    settings.completion = *completion == 'e'   ? Completion::early
                          : *completion == 'l' ? Completion::late
                                               : Completion::random;
  }
  return settings;
}

void thread_main(void* argument) {
  auto& thread = *static_cast<Thread*>(argument);
  const KernelLaunch& launch = *thread.block->grid->launch;
  launch.call(launch.kernel, launch.args.data());
  for (const PendingCopy& copy : thread.copies) {
    if (copy.group >= 0 || copy.valid)
      trap("copies", "a thread ended with asynchronous copies that it never waited for");
  }
  thread.become(Thread::exited);
  leave(thread.fiber, true);
}

}  // namespace

Machine& machine() {
  static Machine instance;
  return instance;
}

Machine::Machine() : settings(overridden({})), random(settings.seed) {}

uint3 thread_index() { return current->index; }
uint3 block_index() { return current->block->index; }
dim3 block_dimensions() { return current->block->grid->launch->block; }
dim3 grid_dimensions() { return current->block->grid->launch->grid; }

std::string kernel_of(const Block& block) { return kernel_name(block.grid->launch->kernel); }

void trap(const char* detector, const std::string& words) {
  Machine& m = machine();
  if (m.fault.empty()) {
    m.fault = std::string(detector) + ": " + words;
    if (current)
      m.fault += " [" + kernel_of(*current->block) + ", block " + triple(current->block->index) + " thread " +
                 triple(current->index) + "]";
  }
  if (current) {
    current->become(Thread::exited);
    leave(current->fiber, true);
  }
}

bool Machine::completes_early() {
  return settings.completion == Completion::early || (settings.completion == Completion::random && random.coin());
}

// ---- Blocks ----

void Machine::start(Block& block, const std::shared_ptr<Grid>& grid, uint32_t number) {
  const KernelLaunch& launch = *grid->launch;
  const dim3 shape = launch.block;
  block.grid = grid;
  block.number = number;
  block.serial = grid->order.blocks.first + number;
  block.lets_next_begin = false;
  block.index = at(number, launch.grid);
  block.threads = block.live = shape.x * shape.y * shape.z;
  block.thread.resize(block.threads);
  block.warp.assign((block.threads + kWarp - 1) / kWarp, {});
  for (Barrier& barrier : block.barrier) barrier = {};
  if (block.shared_end) std::fill_n(block.shared.state, block.shared_end, kNobodys);
  block.arrays.clear();
  block.shared_end = 0;
  for (uint32_t w = 0; w < block.warp.size(); ++w)
    block.warp[w] = {&block, w * kWarp, std::min<uint32_t>(kWarp, block.threads - w * kWarp), 0, 0, 0, 0};
  for (uint32_t t = 0; t < block.threads; ++t) {
    Thread& thread = block.thread[t];
    thread.index = at(t, shape);
    thread.block = &block;
    thread.warp = &block.warp[t / kWarp];
    thread.number = t;
    thread.lane = t % kWarp;
    thread.become(Thread::ready);
    thread.shared_taken = 0;
    thread.copies.clear();
    thread.groups = 0;
    thread.knows = {};
    if (!launch.dependent && !grid->order.before.empty()) have_waited(thread.knows);
    thread.fenced = thread.unfenced = nullptr;
    prepare(thread.fiber, block.first_fiber + static_cast<int>(t), thread_main, &thread);
  }
}

// Lets the warp's ready threads run until each stands at something, then carries out what is complete. False: nothing
// moved.
bool Machine::step(Block& block, Warp& warp, bool one_lane) {
  bool moved = false;
  uint32_t lane = random.below(warp.size);
  const uint32_t on = random.coin() ? warp.size - 1 : 1;
  for (uint32_t i = 0; i < warp.size && warp.ready != 0 && fault.empty(); ++i, lane += on) {
    if (lane >= warp.size) lane -= warp.size;
    if (!(warp.ready >> lane & 1)) continue;
    run_thread(block.thread[warp.first + lane]);
    moved = true;
    if (one_lane) break;
  }
  if (fault.empty()) complete(warp);
  return moved;
}

bool Machine::run_thread(Thread& thread) {
  current = &thread;
  resume(thread.fiber);
  current = nullptr;
  if (!fault.empty()) return false;
  if (thread.state == Thread::exited) {
    --thread.block->live;
    leave_barriers(*thread.block);
  }
  return true;
}

// Every collective whose threads have all arrived.
void Machine::complete(Warp& warp) {
  uint32_t seen = 0;
  for (uint32_t left; (left = warp.gathered & ~seen) != 0 && fault.empty();) {
    const auto lane = static_cast<uint32_t>(std::countr_zero(left));
    const Wait& first = warp.block->thread[warp.first + lane].wait;
    const uint32_t mask = first.mask, missing = warp.exited | ~warp.lanes();
    const bool aligned = first.kind == Wait::mma || first.kind == Wait::load_matrices || first.kind == Wait::arrival;
    for (uint32_t others = mask & ((warp.gathered & ~warp.alike) | missing); others; others &= others - 1) {
      const auto other = static_cast<uint32_t>(std::countr_zero(others));
      if (missing >> other & 1) {
        return trap("divergence", "lane " + std::to_string(lane) + " waits in a collective for lane " +
                                      std::to_string(other) + ", which has ended or is none [" +
                                      kernel_of(*warp.block) + "]");
      }
      const Wait& wait = warp.block->thread[warp.first + other].wait;
      if (wait.kind != first.kind || wait.mask != mask || wait.how != first.how ||
          (aligned && wait.site != first.site)) {
        return trap("divergence", "lanes " + std::to_string(lane) + " and " + std::to_string(other) +
                                      " of a warp stand at different collectives, or with different masks [" +
                                      kernel_of(*warp.block) + "]");
      }
    }
    seen |= mask;
    warp.alike |= mask & warp.gathered;
    if (mask & ~warp.gathered) continue;
    warp.alike &= ~mask;
    perform(warp, mask);
  }
}

void Machine::perform(Warp& warp, uint32_t mask) {
  switch (warp.block->thread[warp.first + static_cast<uint32_t>(__builtin_ctz(mask))].wait.kind) {
    case Wait::shuffle: perform_shuffle(warp, mask); break;
    case Wait::ballot: perform_ballot(warp, mask); break;
    case Wait::mma: perform_mma(warp); break;
    case Wait::load_matrices: perform_load_matrices(warp); break;
    case Wait::arrival: perform_arrival(warp); break;
    case Wait::warp_barrier: {
      std::vector<Knowledge*> by_lane(kWarp, nullptr);
      for (uint32_t lane = 0; lane < kWarp; ++lane) {
        if (mask >> lane & 1) by_lane[lane] = &warp.block->thread[warp.first + lane].knows;
      }
      join_warp(by_lane);
      break;
    }
    case Wait::none:
    case Wait::block_barrier:
    case Wait::earlier_launches: return;
  }
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    if (mask >> lane & 1) warp.block->thread[warp.first + lane].become(Thread::ready);
  }
}

// ---- Shared memory ----

unsigned char* shared_base() { return current->block->shared.begin; }

void* take_shared(uint32_t from, uint64_t bytes, uint32_t alignment) {
  Thread& thread = *current;
  Block& block = *thread.block;
  const uint32_t index = thread.shared_taken++;
  if (index < block.arrays.size()) {
    const SharedArray& known = block.arrays[index];
    if (known.from != from || known.bytes != bytes)
      trap("shared memory", "threads of one block take different shared arrays");
    return block.shared.begin + known.at;
  }
  if (from + bytes > block.grid->launch->shared) {
    trap("shared memory", "an array ends at byte " + std::to_string(from + bytes) + ", but the launch gave " +
                              std::to_string(block.grid->launch->shared));
  }
  if (alignment > kSharedGap || (alignment & (alignment - 1)))
    trap("shared memory", "an alignment above 1024, or no power of two");
  const uint32_t placed = from + (index + 1) * kSharedGap;
  if (placed + bytes + kSharedGap > static_cast<uint64_t>(block.shared.end - block.shared.begin))
    trap("shared memory", "too many arrays");
  block.arrays.push_back({from, placed, bytes});
  std::fill_n(block.shared.begin + placed, bytes, static_cast<unsigned char>(0xff));
  std::fill_n(block.shared.state + placed, bytes, kUnwritten);
  block.shared_end = std::max<uint32_t>(block.shared_end, placed + static_cast<uint32_t>(bytes));
  return block.shared.begin + placed;
}

// ---- Steering ----

void configure(const Settings& settings) {
  Machine& m = machine();
  m.settings = overridden(settings);
  m.random = Random(m.settings.seed);
  m.fault.clear();
  m.allocations = 0;
  m.forget_launches();
  m.counters = {};
  count_traffic(m.settings.traffic);
}

std::string fault() { return machine().fault; }
uint64_t live_allocations() { return machine().heap.count(); }
Counters counters() { return machine().counters; }

}  // namespace nvlm::emulator

// For programs that open the emulator as a library.
extern "C" __attribute__((visibility("default"))) uint64_t nvlm_emulator_launches() {
  return nvlm::emulator::counters().launches;
}
