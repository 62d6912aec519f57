#include "engine/engine.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "engine/cancellation.h"
#include "engine/command.h"
#include "engine/scheduler.h"
#include "platform/condition_wait.h"
#include "platform/error.h"
#include "platform/thread_pool.h"

namespace nvlm {
namespace {

const Error& closed_error() {
  static const Error error("closed",
                           "The model was closed before the call was complete. Load it again, and close it only when "
                           "all answers have arrived.");
  return error;
}

}  // namespace

struct Engine::Impl {
  Impl(LoadOptions load_options, Sink event_sink, Loader model_loader)
      : options(std::move(load_options)),
        sink(std::move(event_sink)),
        loader(std::move(model_loader)),
        thread([this] { run(); }) {}

  // ---- The engine's thread ----

  void run() {
    std::unique_ptr<Model> model = load();
    {
      std::unique_ptr<Scheduler> scheduler;
      if (model) {
        const ParallelFor parallel_for = [this](std::int64_t n, const std::function<void(std::int64_t)>& body) {
          pool->run(n, threads, body);
        };
        scheduler = std::make_unique<Scheduler>(*model, cancellation, parallel_for,
                                                [this](Event event) { emit(std::move(event)); });
      }
      while (wait_for_work(scheduler && !scheduler->idle())) {
        for (command::Any& command : take_commands()) obey(command, scheduler.get());
        if (scheduler) scheduler->turn();
        publish(scheduler.get());
      }
      for (const command::Any& command : take_commands(true)) refuse(command, closed_error());
      if (scheduler) scheduler->end_all(closed_error());
    }
    model.reset();
    pool.reset();
    publish(nullptr);
    sink(event_of(Event::Type::closed, 0));
  }

  std::unique_ptr<Model> load() {
    cancellation.work({Cancellation::kLoad});
    std::unique_ptr<Model> model;
    Event event = event_of(Event::Type::loaded, 0);
    std::unique_ptr<Error> error = caught([&] {
      const auto progress = [this](uint64_t loaded, uint64_t total) {
        Event step = event_of(Event::Type::progress, 0);
        step.loaded = loaded;
        step.total = total;
        sink(std::move(step));
      };
      model = loader(options, progress, cancellation.flag());
      threads = model->description().options.threads;
      pool = ThreadPool::acquire(threads);
      event.description = std::make_shared<Description>(model->description());
    });
    if (cancellation.stopping()) {
      error = std::make_unique<Error>("closed", "The model was closed while it was loading. Load it again.");
    } else if (cancellation.cancelled(Cancellation::kLoad)) {
      error = std::make_unique<Error>("aborted", "Loading was aborted. Load the model again if it is still wanted.");
    }
    if (error) {
      model.reset();
      event = error_event(0, *error);
    }
    cancellation.leave(Cancellation::kLoad);
    if (model) {
      const std::lock_guard lock(mutex);
      published.memory = model->measured();
    }
    sink(std::move(event));
    return model;
  }

  // False when the engine is to stop.
  bool wait_for_work(bool busy) {
    std::unique_lock lock(mutex);
    if (!busy) condition_wait(wake, lock, [this] { return cancellation.stopping() || !commands.empty(); });
    return !cancellation.stopping();
  }

  std::deque<command::Any> take_commands(bool last = false) {
    const std::lock_guard lock(mutex);
    ended = last;
    return std::exchange(commands, {});
  }

  void obey(command::Any& command, Scheduler* scheduler) {
    if (!scheduler) {
      refuse(command, Error("closed", "The model did not load, so it can't be asked. See the error of the load."));
    } else if (auto* submit = std::get_if<command::Submit>(&command)) {
      scheduler->submit(submit->id, std::move(submit->request), submit->submitted);
    } else if (auto* encode = std::get_if<command::Encode>(&command)) {
      scheduler->encode(encode->id, encode->image, encode->tile_tags, encode->submitted);
    } else if (auto* release = std::get_if<command::Release>(&command)) {
      scheduler->release(release->handle);
    } else {
      scheduler->set_vocabulary(std::move(std::get<Vocabulary>(command)));
    }
  }

  void refuse(const command::Any& command, const Error& error) {
    uint64_t id = 0;
    if (const auto* submit = std::get_if<command::Submit>(&command)) id = submit->id;
    if (const auto* encode = std::get_if<command::Encode>(&command)) id = encode->id;
    if (id == 0) return;
    cancellation.leave(id);
    emit(error_event(id, error));
  }

  // Events leave at the end of a turn, when the counts that stats() returns are up to date; only the caller's pixels
  // are released at once.
  void emit(Event event) {
    if (event.type == Event::Type::pixels_free) {
      sink(std::move(event));
    } else {
      outbox.push_back(std::move(event));
    }
  }

  void publish(const Scheduler* scheduler) {
    {
      const std::lock_guard lock(mutex);
      published = scheduler ? scheduler->stats() : Stats{};
    }
    for (Event& event : outbox) sink(std::move(event));
    outbox.clear();
  }

  // ---- Any thread ----

  // False once no more commands are taken.
  bool push(command::Any command) {
    {
      const std::lock_guard lock(mutex);
      if (ended) return false;
      commands.push_back(std::move(command));
    }
    wake.notify_one();
    return true;
  }

  void begin_stop() {
    cancellation.stop();
    {
      const std::lock_guard lock(mutex);  // so that the thread is either before its test or asleep
    }
    wake.notify_one();
  }

  void stop() {
    begin_stop();
    const std::lock_guard lock(join_mutex);
    if (thread.joinable()) thread.join();
  }

  const LoadOptions options;
  const Sink sink;
  const Loader loader;
  Cancellation cancellation;

  // Of the engine's thread alone.
  std::vector<Event> outbox;
  std::shared_ptr<ThreadPool> pool;  // cuts tiles
  int threads = 1;

  mutable std::mutex mutex;
  std::condition_variable wake;
  std::deque<command::Any> commands;
  Stats published;
  bool ended = false;  // the thread has taken its last commands

  std::mutex join_mutex;
  std::thread thread;  // last: everything above exists before it runs
};

Engine::Engine(LoadOptions options, Sink sink, Loader loader)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(sink), std::move(loader))) {}

Engine::~Engine() { stop(); }

void Engine::set_vocabulary(std::string bytes, std::vector<int32_t> offsets) {
  impl_->push(Vocabulary(std::move(bytes), std::move(offsets)));
}

uint64_t Engine::submit(Request request) {
  const uint64_t id = impl_->cancellation.enter();
  if (impl_->push(command::Submit{id, std::move(request), Clock::now()})) return id;
  impl_->cancellation.leave(id);
  return 0;
}

uint64_t Engine::encode(ImageInput image, std::vector<std::vector<int32_t>> tile_tags) {
  const uint64_t id = impl_->cancellation.enter();
  if (impl_->push(command::Encode{id, image, std::move(tile_tags), Clock::now()})) return id;
  impl_->cancellation.leave(id);
  return 0;
}

void Engine::release(uint64_t handle) { impl_->push(command::Release{handle}); }

void Engine::cancel(uint64_t request) { impl_->cancellation.cancel(request); }

Stats Engine::stats() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->published;
}

void Engine::begin_stop() { impl_->begin_stop(); }

void Engine::stop() { impl_->stop(); }

}  // namespace nvlm
