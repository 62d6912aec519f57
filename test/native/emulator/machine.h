// The emulated GPU while a kernel runs: resident blocks, their warps and threads, and what each thread waits for. Internal to the emulator.
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
struct Warp;

// What a thread stands at. Pointers lead to the operands on its own stack.
struct Wait {
  enum Kind : uint8_t { none, warp_barrier, shuffle, ballot, mma, load_matrices, arrival, block_barrier } kind = none;
  uint32_t mask = 0;
  const void* site = nullptr;  // return address, for what must be reached at one place
  Shuffle how{};
  uint32_t operand = 0, width = 32;
  uint64_t bits = 0;       // in and out
  float* d = nullptr;      // mma
  const uint32_t* a = nullptr;
  const uint32_t* b = nullptr;
  uint32_t* r = nullptr;   // load_matrices
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
  std::shared_ptr<const OtherBlocks> fenced, unfenced;  // what the last fence released; what atomics since then would acquire
};

struct Warp {
  Block* block = nullptr;
  uint32_t first = 0, size = 0;  // threads of the block
};

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
  uint32_t number = 0, threads = 0, live = 0;
  uint32_t serial = 0;  // among all blocks that ever ran: tells whose accesses to a slot's shared memory are remembered
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
};

// The thread that runs on this host thread; null: the host itself.
extern thread_local Thread* current;

// One launch being executed.
struct Machine {
  Machine();

  Settings settings;
  Random random{1};
  DeviceHeap heap;
  Counters counters;
  std::string fault;
  uint32_t launches = 0, blocks = 0;
  const KernelLaunch* launch = nullptr;
  std::vector<std::unique_ptr<Block>> slots;

  void run(const KernelLaunch& launch);
  bool completes_early();

 private:
  void start(Block& block, uint32_t number);
  bool step(Block& block, Warp& warp, bool one_lane);
  bool run_thread(Thread& thread);
  void complete(Warp& warp);
  void perform(Warp& warp, uint32_t mask);
  std::string standstill() const;
};
Machine& machine();

std::string kernel_name(const void* kernel);

// ---- Parts ----

// A memory access of the current thread (or of the host, when there is none). Traps what is out of bounds, unwritten, racing or host memory.
void access(const void* address, uint64_t bytes, bool write, Access::Kind kind);
// The same without the checks that need instrumented kernels (races): bounds and unwritten bytes of an instruction that the emulator carries out.
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
