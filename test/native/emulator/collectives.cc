// What the threads of a warp or a block do together. None of it but the barriers orders memory.
#include <algorithm>
#include <bit>

#include "emulator/machine.h"
#include "emulator/traffic.h"

namespace nvlm::emulator {
namespace {

// What the current thread is going to stand at; its operands are for the caller to add.
Wait& collective(Wait::Kind kind, uint32_t mask, const void* site) {
  if (!(mask >> current->lane & 1)) trap("divergence", "a lane takes part in a collective whose mask leaves it out");
  Wait& wait = current->wait;
  wait.kind = kind;
  wait.mask = mask;
  wait.site = site;
  wait.how = {};
  return wait;
}

// Until the others are there and the collective was carried out.
void stand() {
  current->become(Thread::waiting);
  leave(current->fiber, false);
}

constexpr uint32_t kFullWarp = 0xffffffffu;

float low(uint32_t pair) { return std::bit_cast<float>(pair << 16); }
float high(uint32_t pair) { return std::bit_cast<float>(pair & 0xffff0000u); }

Thread& lane_of(Warp& warp, uint32_t lane) { return warp.block->thread[warp.first + lane]; }

}  // namespace

// ---- Warps ----

void warp_barrier(uint32_t mask) {
  collective(Wait::warp_barrier, mask, nullptr);
  stand();
}

uint64_t shuffle(Shuffle kind, uint32_t mask, uint64_t bits, uint32_t operand, uint32_t width) {
  if (width == 0 || width > kWarp || (width & (width - 1)))
    trap("divergence", "the width of a shuffle is no power of two up to 32");
  Wait& wait = collective(Wait::shuffle, mask, nullptr);
  wait.how = kind;
  wait.operand = operand;
  wait.width = width;
  wait.bits = bits;
  stand();
  return wait.bits;
}

void perform_shuffle(Warp& warp, uint32_t mask) {
  uint64_t given[kWarp] = {};
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    if (mask >> lane & 1) given[lane] = lane_of(warp, lane).wait.bits;
  }
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    if (!(mask >> lane & 1)) continue;
    Wait& wait = lane_of(warp, lane).wait;
    const uint32_t first = lane / wait.width * wait.width;
    uint32_t source = lane;
    switch (wait.how) {
      case Shuffle::index: source = first + wait.operand % wait.width; break;
      case Shuffle::up: source = lane - first >= wait.operand ? lane - wait.operand : lane; break;
      case Shuffle::down: source = lane - first + wait.operand < wait.width ? lane + wait.operand : lane; break;
      case Shuffle::exclusive: source = (lane ^ wait.operand) < first + wait.width ? lane ^ wait.operand : lane; break;
    }
    if (!(mask >> source & 1))
      return trap("divergence", "a shuffle reads lane " + std::to_string(source) + ", which is not in its mask [" +
                                    kernel_of(*warp.block) + "]");
    wait.bits = given[source];
  }
}

uint32_t ballot(uint32_t mask, bool predicate) {
  Wait& wait = collective(Wait::ballot, mask, nullptr);
  wait.bits = predicate;
  stand();
  return static_cast<uint32_t>(wait.bits);
}

void perform_ballot(Warp& warp, uint32_t mask) {
  uint32_t votes = 0;
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    if ((mask >> lane & 1) && lane_of(warp, lane).wait.bits) votes |= 1u << lane;
  }
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    if (mask >> lane & 1) lane_of(warp, lane).wait.bits = votes;
  }
}

// ---- Matrices ----

__attribute__((noinline)) void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  Wait& wait = collective(Wait::mma, kFullWarp, __builtin_return_address(0));
  wait.d = d;
  wait.a = a;
  wait.b = b;
  stand();
}

// Products of bf16 are exact in float32; the sums are rounded once per product, where a GPU rounds less often.
void perform_mma(Warp& warp) {
  float a[16][16], b[16][8], d[16][8];
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    const Wait& wait = lane_of(warp, lane).wait;
    const uint32_t g = lane / 4, t = lane % 4;
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t row = g + 8 * (i & 1), column = 2 * t + 8 * (i >> 1);
      a[row][column] = low(wait.a[i]);
      a[row][column + 1] = high(wait.a[i]);
      d[g + 8 * (i >> 1)][2 * t + (i & 1)] = wait.d[i];
    }
    for (uint32_t i = 0; i < 2; ++i) {
      b[2 * t + 8 * i][g] = low(wait.b[i]);
      b[2 * t + 8 * i + 1][g] = high(wait.b[i]);
    }
  }
  for (uint32_t i = 0; i < 16; ++i) {
    for (uint32_t k = 0; k < 16; ++k) {
      for (uint32_t j = 0; j < 8; ++j) d[i][j] += a[i][k] * b[k][j];
    }
  }
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    const Wait& wait = lane_of(warp, lane).wait;
    for (uint32_t i = 0; i < 4; ++i) wait.d[i] = d[lane / 4 + 8 * (i >> 1)][2 * (lane % 4) + (i & 1)];
  }
}

__attribute__((noinline)) void load_matrices(uint32_t (&r)[4], const void* row, bool transposed) {
  const Region& shared = current->block->shared;
  if (!shared.contains(row)) trap("ldmatrix", "an address that is not in the block's shared memory");
  if (reinterpret_cast<uintptr_t>(row) % 16) trap("ldmatrix", "an address that is not aligned to 16 bytes");
  if (traffic_counted) note_traffic(__builtin_return_address(0), row, 16);
  access(row, 16, false, Access::plain);
  Wait& wait = collective(Wait::load_matrices, kFullWarp, __builtin_return_address(0));
  wait.r = r;
  wait.row = row;
  wait.transposed = transposed;
  stand();
}

void perform_load_matrices(Warp& warp) {
  for (uint32_t matrix = 0; matrix < 4; ++matrix) {
    const uint16_t* rows[8];
    uint32_t in_bank[8] = {};
    for (uint32_t i = 0; i < 8; ++i) {
      const void* row = lane_of(warp, 8 * matrix + i).wait.row;
      rows[i] = static_cast<const uint16_t*>(row);
      // Equal addresses are read once.
      if (std::find(rows, rows + i, rows[i]) == rows + i) ++in_bank[reinterpret_cast<uintptr_t>(row) / 16 % 8];
    }
    machine().counters.matrix_conflicts += *std::max_element(in_bank, in_bank + 8) - 1;
    for (uint32_t lane = 0; lane < kWarp; ++lane) {
      const Wait& wait = lane_of(warp, lane).wait;
      const uint32_t g = lane / 4, t = 2 * (lane % 4);
      const uint32_t first = wait.transposed ? rows[t][g] : rows[g][t],
                     second = wait.transposed ? rows[t + 1][g] : rows[g][t + 1];
      wait.r[matrix] = first | second << 16;
    }
  }
}

// ---- Blocks ----

namespace {

// Whoever is in the barrier goes on, knowing what all of them knew.
void release(Block& block, Barrier& barrier, int id) {
  std::vector<Knowledge*> knowledge;
  std::vector<bool> waited;
  for (Thread& thread : block.thread) {
    knowledge.push_back(&thread.knows);
    waited.push_back(thread.state == Thread::waiting && thread.wait.kind == Wait::block_barrier &&
                     thread.wait.barrier == id);
    if (waited.back()) thread.become(Thread::ready);
  }
  join_block(knowledge, barrier.members, waited);
  barrier = {};
}

// The threads of a warp that meet at an aligned barrier must be at the same one. Those that are there were compared
// when they came: one of them is enough.
void check_alignment(const Thread& thread, int id, const void* site) {
  const Warp& warp = *thread.warp;
  for (uint32_t lanes = warp.lanes() & ~(warp.ready | warp.gathered | warp.exited); lanes; lanes &= lanes - 1) {
    const Wait& other = lane_of(*thread.warp, static_cast<uint32_t>(std::countr_zero(lanes))).wait;
    if (other.kind != Wait::block_barrier) continue;
    if (other.barrier != id || other.site != site)
      trap("divergence", "threads of one warp stand at different barriers");
    return;
  }
}

}  // namespace

void arrive_at_barrier(Thread& thread, int id, int threads, bool wait) {
  Block& block = *thread.block;
  Barrier& barrier = block.barrier[id];
  if (barrier.arrived == 0) {
    barrier.expected = threads;
    barrier.members.assign(block.threads, false);
  }
  if (barrier.expected != threads)
    trap("barrier", "barrier " + std::to_string(id) + " is used with " + std::to_string(threads) + " and with " +
                        std::to_string(barrier.expected) + " threads");
  if (barrier.members[thread.number]) trap("barrier", "a thread arrives twice at barrier " + std::to_string(id));
  barrier.members[thread.number] = true;
  ++barrier.arrived;
  const int needed = id == 0 ? static_cast<int>(block.live) : barrier.expected;
  if (barrier.arrived == needed) {
    if (wait) thread.become(Thread::waiting);  // so that release sets it ready with the others
    release(block, barrier, id);
  } else if (wait) {
    thread.become(Thread::waiting);
  }
  if (wait) leave(thread.fiber, false);
}

void leave_barriers(Block& block) {
  Barrier& barrier = block.barrier[0];
  if (barrier.arrived > 0 && barrier.arrived == static_cast<int>(block.live)) release(block, barrier, 0);
}

namespace {

void wait_at_barrier(int id, int threads, const void* site) {
  Thread& thread = *current;
  check_alignment(thread, id, site);
  thread.wait.kind = Wait::block_barrier;
  thread.wait.site = site;
  thread.wait.barrier = id;
  arrive_at_barrier(thread, id, threads, true);
}

}  // namespace

__attribute__((noinline)) void block_barrier() {
  wait_at_barrier(0, static_cast<int>(current->block->threads), __builtin_return_address(0));
}

__attribute__((noinline)) void named_barrier(int id, int threads, bool wait) {
  if (id < 1 || id >= kBarriers) trap("barrier", "a named barrier has a number from 1 to 15");
  if (threads <= 0 || threads % kWarp || threads > static_cast<int>(current->block->threads))
    trap("barrier", "a barrier's count must be whole warps of the block");
  if (wait) return wait_at_barrier(id, threads, __builtin_return_address(0));
  // The whole warp arrives at once.
  Wait& arrival = collective(Wait::arrival, kFullWarp, __builtin_return_address(0));
  arrival.barrier = id;
  arrival.barrier_threads = threads;
  stand();
}

void perform_arrival(Warp& warp) {
  for (uint32_t lane = 0; lane < kWarp && machine().fault.empty(); ++lane) {
    Thread& thread = lane_of(warp, lane);
    arrive_at_barrier(thread, thread.wait.barrier, thread.wait.barrier_threads, false);
  }
}

}  // namespace nvlm::emulator
