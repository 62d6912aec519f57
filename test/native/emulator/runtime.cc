// The host side of cuda/gpu.h: pool, streams, events, graphs and copies. Work on a stream happens some time between its call and the call that waits
// for it: each call into the runtime carries out a random part of what is due. Copies read and write host memory when they happen, not when they are
// asked for; until then the target holds poison.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <list>
#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>

#include "cuda/gpu.h"
#include "emulator/machine.h"

// One thing to do on a stream. `due`: whether it can happen now.
struct StreamWork {
  std::function<bool()> due;
  std::function<void()> act;
};

struct CUstream_st {
  std::list<StreamWork> work;
  std::vector<StreamWork>* capture = nullptr;  // where work goes instead
};

struct CUevent_st {
  uint64_t recorded = 0, happened = 0;  // numbers of records
  bool timing = false;
};

struct CUgraphExec_st {
  std::vector<StreamWork> work;
};

namespace nvlm::gpu {
namespace {

using emulator::Machine;
using emulator::machine;
using emulator::trap;

std::recursive_mutex mutex;  // the device is one
std::set<Stream> streams;
std::set<Event> events;
std::map<unsigned char*, uint64_t> pinned;
std::unordered_map<const void*, uint32_t> allowed_shared;
thread_local std::string last_message;

Status answer(Status status, const std::string& words) {
  last_message = words;
  return status;
}

// What every call answers in the end: a fault sticks.
Status state() {
  const std::string fault = machine().fault;
  return fault.empty() ? Status::ok : answer(Status::fault, fault);
}

// Carries out the first piece of work of some stream; false: nothing is due.
bool advance(Stream stream) {
  if (stream->work.empty() || !machine().fault.empty()) return false;
  StreamWork& next = stream->work.front();
  if (next.due && !next.due()) return false;
  const std::function<void()> act = next.act;
  stream->work.pop_front();
  act();
  return true;
}

void advance_something() {
  std::vector<Stream> some;
  for (Stream s : streams) {
    if (!s->work.empty()) some.push_back(s);
  }
  if (!some.empty()) advance(some[machine().random.below(static_cast<uint32_t>(some.size()))]);
}

// A part of the work happens behind the caller's back.
void time_passes() {
  Machine& m = machine();
  if (m.settings.completion == emulator::Completion::late) return;
  uint32_t steps = m.settings.completion == emulator::Completion::early ? 1000 : m.random.below(4);
  while (steps-- > 0 && m.fault.empty()) {
    const bool some = std::any_of(streams.begin(), streams.end(), [](Stream s) { return !s->work.empty(); });
    if (!some) break;
    advance_something();
  }
}

void run_until(const std::function<bool()>& done) {
  int stuck = 0;
  while (!done() && machine().fault.empty()) {
    advance_something();
    if (++stuck > 1000000) return trap("hang", "a stream waits for an event that nobody records");
  }
}

Status enqueue(Stream stream, StreamWork work) {
  if (!streams.count(stream)) return answer(Status::invalid, "work on a stream that does not exist; the default stream is not used here");
  if (stream->capture) {
    stream->capture->push_back(std::move(work));
    return state();
  }
  stream->work.push_back(std::move(work));
  time_passes();
  return state();
}

bool device_range(const void* p, uint64_t bytes) { return machine().heap.live(p, bytes); }

}  // namespace
}  // namespace nvlm::gpu

namespace nvlm::emulator {

bool is_pinned(const void* address, uint64_t bytes) {
  auto* at = static_cast<unsigned char*>(const_cast<void*>(address));
  auto next = gpu::pinned.upper_bound(at);
  if (next == gpu::pinned.begin()) return false;
  const auto& [begin, size] = *std::prev(next);
  return bytes <= size && static_cast<uint64_t>(at - begin) <= size - bytes;
}

}  // namespace nvlm::emulator

namespace nvlm::gpu {

const char* message() { return last_message.c_str(); }

// ---- Devices ----

Status device_count(int* count) {
  *count = 1;
  return Status::ok;
}

Status device_info(int device, DeviceInfo* info) {
  if (device != 0) return answer(Status::invalid, "there is one emulated device");
  const emulator::Settings& s = machine().settings;
  *info = {};
  std::strcpy(info->name, "Emulator");
  info->major = s.major;
  info->minor = s.minor;
  info->multiprocessors = s.multiprocessors;
  info->shared_per_block = s.shared_per_block;
  info->l2_bytes = 4 << 20;
  info->memory = s.memory;
  return Status::ok;
}

Status driver_version(int* version) {
  *version = 13000;
  return Status::ok;
}

Status use_device(int device) { return device == 0 ? Status::ok : answer(Status::invalid, "there is one emulated device"); }

Status memory_info(uint64_t* free, uint64_t* total) {
  const std::lock_guard lock(mutex);
  *total = machine().settings.memory;
  *free = *total - std::min(*total, machine().heap.used());
  return state();
}

// ---- Memory ----

Status alloc(void** memory, uint64_t bytes, Stream stream) {
  const std::lock_guard lock(mutex);
  *memory = nullptr;
  if (stream && stream->capture) return answer(Status::invalid, "memory is not taken within a graph");
  unsigned char* address = machine().heap.take(bytes, machine().settings.memory);
  if (!address) {
    // Frees that are still on their way give memory back.
    for (Stream s : streams) run_until([s] { return s->work.empty(); });
    address = machine().heap.take(bytes, machine().settings.memory);
  }
  if (!address) return answer(Status::out_of_memory, "the emulated device has no " + std::to_string(bytes) + " bytes left");
  *memory = address;
  return enqueue(stream, {nullptr, [address] { machine().heap.make_live(address); }});
}

Status free(void* memory, Stream stream) {
  const std::lock_guard lock(mutex);
  auto* address = static_cast<unsigned char*>(memory);
  if (!machine().heap.known(address)) {
    trap("memory", "something is freed that was not allocated, or twice");
    return state();
  }
  if (!machine().fault.empty()) {  // so that a test can go on after a fault
    machine().heap.give_back(address);
    return state();
  }
  return enqueue(stream, {nullptr, [address] { machine().heap.give_back(address); }});
}

Status trim() { return state(); }

Status alloc_pinned(void** memory, uint64_t bytes) {
  const std::lock_guard lock(mutex);
  *memory = std::aligned_alloc(256, (std::max<uint64_t>(bytes, 1) + 255) / 256 * 256);
  if (!*memory) return answer(Status::out_of_memory, "the system refused page-locked memory");
  std::memset(*memory, 0xff, bytes);
  pinned[static_cast<unsigned char*>(*memory)] = bytes;
  return state();
}

Status free_pinned(void* memory) {
  const std::lock_guard lock(mutex);
  // CUDA waits for the device here.
  for (Stream s : streams) run_until([s] { return s->work.empty(); });
  if (!pinned.erase(static_cast<unsigned char*>(memory))) trap("memory", "page-locked memory is freed that was not allocated");
  std::free(memory);
  return state();
}

// ---- Streams and events ----

Status create_stream(Stream* stream) {
  const std::lock_guard lock(mutex);
  *stream = new CUstream_st;
  streams.insert(*stream);
  return state();
}

Status destroy_stream(Stream stream) {
  const std::lock_guard lock(mutex);
  run_until([stream] { return stream->work.empty(); });
  streams.erase(stream);
  delete stream;
  return state();
}

Status wait(Stream stream) {
  const std::lock_guard lock(mutex);
  if (stream->capture) return answer(Status::invalid, "a stream is waited for while it is captured");
  run_until([stream] { return stream->work.empty(); });
  return state();
}

Status create_event(Event* event, bool timing) {
  const std::lock_guard lock(mutex);
  *event = new CUevent_st;
  (*event)->timing = timing;
  events.insert(*event);
  return state();
}

Status destroy_event(Event event) {
  const std::lock_guard lock(mutex);
  run_until([event] { return event->happened == event->recorded; });
  events.erase(event);
  delete event;
  return state();
}

Status record(Event event, Stream stream) {
  const std::lock_guard lock(mutex);
  const uint64_t number = ++event->recorded;
  return enqueue(stream, {nullptr, [event, number] { event->happened = std::max(event->happened, number); }});
}

Status wait_for(Event event) {
  const std::lock_guard lock(mutex);
  run_until([event] { return event->happened == event->recorded; });
  return state();
}

Status follow(Stream stream, Event event) {
  const std::lock_guard lock(mutex);
  const uint64_t number = event->recorded;
  return enqueue(stream, {[event, number] { return event->happened >= number; }, [] {}});
}

Status is_done(Event event, bool* done) {
  const std::lock_guard lock(mutex);
  time_passes();
  *done = event->happened == event->recorded;
  return state();
}

Status elapsed(Event, Event, float* milliseconds) {
  *milliseconds = 1;  // time means nothing here
  return state();
}

// ---- Copies ----

Status copy_to_device(void* device, const void* host, uint64_t bytes, Stream stream) {
  const std::lock_guard lock(mutex);
  if (bytes == 0) return state();
  if (!emulator::is_pinned(host, bytes)) trap("copies", "an asynchronous copy from host memory that is not page-locked");
  return enqueue(stream, {nullptr, [=] {
                            if (!device_range(device, bytes)) return trap("bounds", "a copy to the device that leaves its allocation");
                            if (!emulator::is_pinned(host, bytes)) return trap("copies", "page-locked memory was freed before its copy happened");
                            std::memcpy(device, host, bytes);
                            machine().heap.mark_written(device, bytes);
                          }});
}

Status copy_to_host(void* host, const void* device, uint64_t bytes, Stream stream) {
  const std::lock_guard lock(mutex);
  if (bytes == 0) return state();
  if (!emulator::is_pinned(host, bytes)) trap("copies", "an asynchronous copy to host memory that is not page-locked");
  if (!stream->capture) std::memset(host, 0xff, bytes);
  return enqueue(stream, {nullptr, [=] {
                            if (!device_range(device, bytes)) return trap("bounds", "a copy from the device that leaves its allocation");
                            if (!emulator::is_pinned(host, bytes)) return trap("copies", "page-locked memory was freed before its copy happened");
                            std::memcpy(host, device, bytes);
                          }});
}

Status copy_on_device(void* to, const void* from, uint64_t bytes, Stream stream) {
  const std::lock_guard lock(mutex);
  if (bytes == 0) return state();
  return enqueue(stream, {nullptr, [=] {
                            if (!device_range(to, bytes) || !device_range(from, bytes)) return trap("bounds", "a copy on the device that leaves its allocation");
                            std::memmove(to, from, bytes);
                            const emulator::Region& region = machine().heap.region();
                            std::memmove(region.state + region.offset(to), region.state + region.offset(from), bytes);
                          }});
}

Status fill(void* device, int byte, uint64_t bytes, Stream stream) {
  const std::lock_guard lock(mutex);
  if (bytes == 0) return state();
  return enqueue(stream, {nullptr, [=] {
                            if (!device_range(device, bytes)) return trap("bounds", "a fill that leaves its allocation");
                            std::memset(device, byte, bytes);
                            machine().heap.mark_written(device, bytes);
                          }});
}

// ---- Graphs ----

Status begin_capture(Stream stream) {
  const std::lock_guard lock(mutex);
  if (stream->capture) return answer(Status::invalid, "the stream is captured already");
  stream->capture = new std::vector<StreamWork>;
  return state();
}

Status end_capture(Stream stream, Graph* graph) {
  const std::lock_guard lock(mutex);
  if (!stream->capture) return answer(Status::invalid, "the stream is not captured");
  *graph = new CUgraphExec_st{std::move(*stream->capture)};
  delete std::exchange(stream->capture, nullptr);
  return state();
}

Status run_graph(Graph graph, Stream stream) {
  const std::lock_guard lock(mutex);
  for (const StreamWork& work : graph->work) {
    if (const Status status = enqueue(stream, work); status != Status::ok) return status;
  }
  return state();
}

Status destroy_graph(Graph graph) {
  const std::lock_guard lock(mutex);
  delete graph;
  return state();
}

// ---- Launching ----

Status detail::allow_shared(const void* kernel, uint32_t bytes) {
  const std::lock_guard lock(mutex);
  if (bytes > static_cast<uint32_t>(machine().settings.shared_per_block)) return answer(Status::invalid, "more shared memory than the device has for a block");
  allowed_shared[kernel] = bytes;
  return state();
}

Status detail::launch(const void* kernel, void (*call)(const void*, const void*), const Launch& shape, const void* args, size_t args_bytes) {
  constexpr uint32_t kPlainShared = 48 * 1024;
  const std::lock_guard lock(mutex);
  const uint64_t threads = uint64_t{shape.block.x} * shape.block.y * shape.block.z, blocks = uint64_t{shape.grid.x} * shape.grid.y * shape.grid.z;
  if (threads == 0 || threads > 1024 || blocks == 0 || shape.grid.x > 0x7fffffffu || shape.grid.y > 65535 || shape.grid.z > 65535) {
    return answer(Status::invalid, "a launch of no threads, or of more than a GPU takes");
  }
  const auto allowed = allowed_shared.find(kernel);
  if (shape.shared > std::max(kPlainShared, allowed == allowed_shared.end() ? 0 : allowed->second)) {
    return answer(Status::invalid, "more than 48 KB of shared memory were not allowed before the launch");
  }
  const auto* bytes = static_cast<const unsigned char*>(args);
  auto launch = std::make_shared<emulator::KernelLaunch>(emulator::KernelLaunch{kernel, call, shape.grid, shape.block, shape.shared, {bytes, bytes + args_bytes}});
  return enqueue(shape.stream, {nullptr, [launch] { machine().run(*launch); }});
}

}  // namespace nvlm::gpu
