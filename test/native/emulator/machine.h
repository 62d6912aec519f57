// The emulated GPU while kernels run: launches in flight, resident blocks, their warps and threads, and what each
// thread waits for. Internal to the emulator.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "emulator/control.h"
#include "emulator/device.h"
#include "emulator/fiber.h"
#include "emulator/memory.h"
#include "emulator/races.h"
#include "support/split_mix.h"

namespace nvlm::emulator {

constexpr int kWarp = 32;
constexpr int kBarriers = 16;
constexpr uint32_t kSharedGap = 1024;  // poisoned, behind each shared array; keeps every alignment and bank

class Random : test::SplitMix64 {
 public:
  using SplitMix64::SplitMix64;
  uint32_t below(uint32_t end) { return static_cast<uint32_t>((bits() >> 32) * end >> 32); }
  bool coin() { return bits() >> 63; }
};

struct Block;
struct Grid;
struct Warp;

// What a thread stands at. Pointers lead to the operands on its own stack.
struct Wait {
  enum Kind : uint8_t {
    none,
    warp_barrier,
    shuffle,
    ballot,
    mma,
    load_matrices,
    arrival,
    block_barrier,
    earlier_launches
  } kind = none;
  bool of_a_warp() const { return kind != block_barrier && kind != earlier_launches; }
  uint32_t mask = 0;
  const void* site = nullptr;  // return address, for what must be reached at one place
  Shuffle how{};
  uint32_t operand = 0, width = 32;
  uint64_t bits = 0;   // in and out
  float* d = nullptr;  // mma
  const uint32_t* a = nullptr;
  const uint32_t* b = nullptr;
  uint32_t* r = nullptr;  // load_matrices
  const void* row = nullptr;
  bool transposed = false;
  int barrier = 0, barrier_threads = 0;
};

struct PendingCopy {
  unsigned char* to;
  const unsigned char* from;
  bool valid, done;
  int group;
};

struct Thread {
  enum State : uint8_t { ready, waiting, exited } state = exited;
  Fiber fiber;
  uint3 index{};
  Block* block = nullptr;
  Warp* warp = nullptr;
  uint32_t number = 0, lane = 0;
  Wait wait;
  uint32_t shared_taken = 0;
  std::vector<PendingCopy> copies;
  int groups = 0;
  Knowledge knows;
  // What the last fence released; what atomics since then would acquire.
  std::shared_ptr<const OtherBlocks> fenced, unfenced;

  void become(State next);  // what it waits for is said before
};

struct Warp {
  Block* block = nullptr;
  uint32_t first = 0, size = 0;  // threads of the block
  // The same as the threads' states, a bit a lane: `gathered` are those that wait at a collective of the warp.
  uint32_t ready = 0, gathered = 0, exited = 0;
  uint32_t alike = 0;  // gathered ones that were seen to stand at the same as the others of their mask
  uint32_t lanes() const { return size == kWarp ? ~0u : (1u << size) - 1; }
};

inline void Thread::become(State next) {
  const uint32_t bit = 1u << lane;
  const auto put = [bit](uint32_t& lanes, bool in) { lanes = in ? lanes | bit : lanes & ~bit; };
  state = next;
  put(warp->ready, next == ready);
  put(warp->gathered, next == waiting && wait.of_a_warp());
  put(warp->exited, next == exited);
}

struct Barrier {
  int arrived = 0, expected = 0;
  std::vector<bool> members;  // those that arrived, waiting or not
};

struct SharedArray {
  uint32_t from, at;
  uint64_t bytes;
};

struct Block {
  ~Block() { release_region(shared); }
  std::shared_ptr<Grid> grid;
  uint32_t number = 0, threads = 0, live = 0;
  uint32_t serial = 0;  // among all blocks that ever ran: tells whose accesses are remembered
  bool lets_next_begin = false;
  uint3 index{};
  int first_fiber = 0;
  std::vector<Thread> thread;
  std::vector<Warp> warp;
  Barrier barrier[kBarriers];
  Region shared;
  std::vector<SharedArray> arrays;
  uint32_t shared_end = 0;  // of what was taken, gaps included
};

struct KernelLaunch {
  const void* kernel;
  void (*call)(const void* kernel, const void* args);
  dim3 grid, block;
  uint32_t shared;
  std::vector<unsigned char> args;
  bool dependent;
};

// A launch in flight.
struct Grid {
  std::shared_ptr<const KernelLaunch> launch;
  std::shared_ptr<Grid> earlier;  // the launch before it, as long as nobody here knows that it is complete
  uint32_t era = 0;               // of what is remembered of accesses to global memory
  uint32_t manner = 0;            // how warps take turns
  GridOrder order;
  SyncVariables variables;
  std::vector<uint32_t> blocks;  // in the order in which they start
  uint32_t started = 0, resident = 0, ended = 0;
  uint32_t let_next_begin = 0;  // blocks that do, or have ended
  bool complete() const { return ended == blocks.size(); }
};

// The thread that runs on this host thread; null: the host itself.
extern thread_local Thread* current __attribute__((tls_model("initial-exec")));

// The device: what is in flight on it, and everything it remembers.
struct Machine {
  Machine();

  Settings settings;
  Random random{1};
  DeviceHeap heap;
  Counters counters;
  uint64_t allocations = 0;  // asked for since `configure`, given or not
  std::string fault;
  uint32_t launches = 0;  // that ever began: the last one's number
  std::vector<std::unique_ptr<Block>> slots;

  // Runs launches of one stream, dependent ones but for the first, until all are complete. `follows`: the first comes
  // right behind the last one that ran.
  void run(const std::vector<std::shared_ptr<const KernelLaunch>>& work, bool follows);
  bool completes_early();
  std::string name_of(uint32_t block_serial,
                      const Grid& seen_from) const;  // "block 3", and of which launch, if it is another
  void forget_launches() { newest = nullptr; }

 private:
  // Launches (grids.cc).
  void begin(const std::shared_ptr<const KernelLaunch>& launch, bool follows);
  bool may_begin(const KernelLaunch& launch);
  void fill_slots();
  void end(Block& block);
  bool nothing_ready() const;
  std::string standstill() const;
  // Blocks (machine.cc).
  void start(Block& block, const std::shared_ptr<Grid>& grid, uint32_t number);
  bool step(Block& block, Warp& warp, bool one_lane);
  bool run_thread(Thread& thread);
  void complete(Warp& warp);
  void perform(Warp& warp, uint32_t mask);

  std::vector<std::shared_ptr<Grid>> flight;  // begun and not complete, in order
  std::vector<Block*> running;
  std::shared_ptr<Grid> newest;                            // the last that began
  uint32_t blocks = 0, era = 0;                            // numbers that were given away
  std::vector<std::pair<BlockRange, const void*>> of_era;  // the launches of the current era, and their kernels
};
Machine& machine();

std::string kernel_name(const void* kernel);  // kernel_name.cc
std::string kernel_of(const Block& block);

// ---- Parts ----

// A memory access of the current thread (or of the host, when there is none). Traps what is out of bounds, unwritten,
// racing or host memory.
void access(const void* address, uint64_t bytes, bool write, Access::Kind kind);
// The same without the checks that need instrumented kernels (races): bounds and unwritten bytes of an instruction that
// the emulator carries out.
void check_range(const void* address, uint64_t bytes, bool write, const char* what);
void mark_written(const void* address, uint64_t bytes);
bool is_pinned(const void* address, uint64_t bytes);  // runtime.cc

void perform_shuffle(Warp& warp, uint32_t mask);
void perform_ballot(Warp& warp, uint32_t mask);
void perform_mma(Warp& warp);
void perform_load_matrices(Warp& warp);
void finish_copies(Thread& thread, int up_to_group);
void perform_arrival(Warp& warp);
void arrive_at_barrier(Thread& thread, int id, int threads, bool wait);
void leave_barriers(Block& block);  // after a thread exited: who waits at __syncthreads may go on

}  // namespace nvlm::emulator
