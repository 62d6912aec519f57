// Work that was asked for on streams and has not happened yet. Internal to the emulator's host side.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "cuda/gpu.h"
#include "emulator/machine.h"

// One thing to do on a stream: a launch, or anything else.
struct StreamWork {
  std::function<bool()> due;  // whether it can happen now; null: always
  std::function<void()> act;
  std::shared_ptr<const nvlm::emulator::KernelLaunch> launch = nullptr;
};

struct CUstream_st {
  int device = 0;
  std::list<StreamWork> work;
  std::vector<StreamWork>* capture = nullptr;  // where work goes instead
  uint32_t last_launch = 0;                    // its number, when it is what happened last on the stream
};

struct CUevent_st {
  int device = 0;
  uint64_t recorded = 0, happened = 0;  // numbers of records
  bool timing = false;
};

struct CUgraphExec_st {
  std::vector<StreamWork> work;
};

namespace nvlm::gpu {

extern std::recursive_mutex device_mutex;  // the device is one
extern std::set<Stream> streams;
extern thread_local int thread_device;

Status answer(Status status, const std::string& words);
bool no_memory_now();  // whether this allocation is the one that the settings let fail
Status state();        // what every call answers in the end: a fault sticks
Status enqueue(Stream stream, StreamWork work);
void run_until(const std::function<bool()>& done);

}  // namespace nvlm::gpu
