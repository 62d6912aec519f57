// Streams, events and graphs of cuda/gpu.h. Work on a stream happens some time between its call and the call that waits
// for it: each call into the runtime carries out a random part of what is due.
#include "emulator/streams.h"

#include <algorithm>
#include <cstdio>
#include <utility>

namespace nvlm::gpu {

std::recursive_mutex device_mutex;
std::set<Stream> streams;
thread_local int thread_device = 0;

namespace {

using emulator::Machine;
using emulator::machine;
using emulator::trap;

std::set<Event> events;
thread_local char last_message[512];

// With the launch, those behind it that may begin before it ends; now and then the host is too slow for that.
void run_launches(Stream stream, const std::shared_ptr<const emulator::KernelLaunch>& first) {
  Machine& m = machine();
  std::vector launches{first};
  const bool slow_host = m.settings.completion == emulator::Completion::random && m.random.below(4) == 0;
  while (!slow_host && !stream->work.empty() && stream->work.front().launch && stream->work.front().launch->dependent) {
    launches.push_back(stream->work.front().launch);
    stream->work.pop_front();
  }
  m.run(launches, stream->last_launch != 0 && stream->last_launch == m.launches);
  stream->last_launch = m.launches;
}

// Carries out the first piece of work of some stream; false: nothing is due.
bool advance(Stream stream) {
  if (stream->work.empty() || !machine().fault.empty()) return false;
  const StreamWork next = stream->work.front();
  if (next.due && !next.due()) return false;
  stream->work.pop_front();
  if (next.launch) {
    run_launches(stream, next.launch);
  } else {
    next.act();
    stream->last_launch = 0;
  }
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

}  // namespace

const char* message() { return last_message; }

Status answer(Status status, const std::string& words) {
  std::snprintf(last_message, sizeof last_message, "%s", words.c_str());
  return status;
}

bool no_memory_now() { return ++machine().allocations == machine().settings.fail_allocation; }

Status state() {
  const std::string fault = machine().fault;
  return fault.empty() ? Status::ok : answer(Status::fault, fault);
}

void run_until(const std::function<bool()>& done) {
  int stuck = 0;
  while (!done() && machine().fault.empty()) {
    advance_something();
    if (++stuck > 1000000) return trap("hang", "a stream waits for an event that nobody records");
  }
}

// Together: nothing of it happens before all of it is there.
Status enqueue_all(Stream stream, const std::vector<StreamWork>& work) {
  if (!streams.count(stream))
    return answer(Status::invalid, "work on a stream that does not exist; the default stream is not used here");
  if (stream->device != thread_device)
    return answer(Status::invalid, "work on a stream of another device than the thread's");
  if (stream->capture) {
    stream->capture->insert(stream->capture->end(), work.begin(), work.end());
    return state();
  }
  stream->work.insert(stream->work.end(), work.begin(), work.end());
  time_passes();
  return state();
}

Status enqueue(Stream stream, StreamWork work) { return enqueue_all(stream, {std::move(work)}); }

// ---- Streams and events ----

Status create_stream(Stream* stream) {
  const std::lock_guard lock(device_mutex);
  *stream = new CUstream_st;
  (*stream)->device = thread_device;
  streams.insert(*stream);
  return state();
}

Status destroy_stream(Stream stream) {
  const std::lock_guard lock(device_mutex);
  run_until([stream] { return stream->work.empty(); });
  streams.erase(stream);
  delete stream;
  return state();
}

Status wait(Stream stream) {
  const std::lock_guard lock(device_mutex);
  if (stream->capture) return answer(Status::invalid, "a stream is waited for while it is captured");
  machine().counters.host_waits += !stream->work.empty();
  run_until([stream] { return stream->work.empty(); });
  return state();
}

Status create_event(Event* event, bool timing) {
  const std::lock_guard lock(device_mutex);
  *event = new CUevent_st;
  (*event)->device = thread_device;
  (*event)->timing = timing;
  events.insert(*event);
  return state();
}

Status destroy_event(Event event) {
  const std::lock_guard lock(device_mutex);
  run_until([event] { return event->happened == event->recorded; });
  events.erase(event);
  delete event;
  return state();
}

Status record(Event event, Stream stream) {
  const std::lock_guard lock(device_mutex);
  if (event->device != stream->device) return answer(Status::invalid, "an event of another device than the stream's");
  const uint64_t number = ++event->recorded;
  return enqueue(stream, {nullptr, [event, number] { event->happened = std::max(event->happened, number); }});
}

Status wait_for(Event event) {
  const std::lock_guard lock(device_mutex);
  machine().counters.host_waits += event->happened != event->recorded;
  run_until([event] { return event->happened == event->recorded; });
  return state();
}

Status follow(Stream stream, Event event) {
  const std::lock_guard lock(device_mutex);
  const uint64_t number = event->recorded;
  return enqueue(stream, {[event, number] { return event->happened >= number; }, [] {}});
}

Status elapsed(Event, Event, float* milliseconds) {
  *milliseconds = 1;  // time means nothing here
  return state();
}

// ---- Graphs ----

Status begin_capture(Stream stream) {
  const std::lock_guard lock(device_mutex);
  if (stream->capture) return answer(Status::invalid, "the stream is captured already");
  stream->capture = new std::vector<StreamWork>;
  return state();
}

Status end_capture(Stream stream, Graph* graph) {
  const std::lock_guard lock(device_mutex);
  if (!stream->capture) return answer(Status::invalid, "the stream is not captured");
  const std::unique_ptr<std::vector<StreamWork>> work(std::exchange(stream->capture, nullptr));
  if (no_memory_now()) return answer(Status::out_of_memory, "there is no memory for a graph");
  *graph = new CUgraphExec_st{std::move(*work)};
  ++machine().counters.graphs_made;
  return state();
}

Status run_graph(Graph graph, Stream stream) {
  const std::lock_guard lock(device_mutex);
  ++machine().counters.graphs_run;
  return enqueue_all(stream, graph->work);
}

Status destroy_graph(Graph graph) {
  const std::lock_guard lock(device_mutex);
  delete graph;
  return state();
}

}  // namespace nvlm::gpu
