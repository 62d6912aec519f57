// What several threads do at once to the thread pool and to an engine. Runs as it is, and under ThreadSanitizer, which
// sees what these checks can not: two accesses that nothing orders.
#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "platform/thread_pool.h"
#include "support/fake_rig.h"
#include "support/families.h"
#include "support/split_mix.h"

using namespace nvlm;
using namespace nvlm::test;

namespace {

constexpr int kCallers = 3;

// Calls body(caller, its random numbers) on kCallers threads at once.
template <typename Body>
void at_once(const Body& body) {
  std::vector<std::thread> callers;
  for (int caller = 0; caller < kCallers; ++caller) {
    callers.emplace_back([&body, caller] {
      SplitMix64 random(static_cast<uint64_t>(caller) + 1);
      body(caller, random);
    });
  }
  for (std::thread& caller : callers) caller.join();
}

int below(SplitMix64& random, int end) { return static_cast<int>(random.bits() % static_cast<uint64_t>(end)); }

// Memory that is no atomic: the job's order is the pool's. Some jobs throw, and some callers let go of the pool between
// two jobs, so that it is made and joined again.
void pool_jobs() {
  std::atomic<int> wrong{0}, thrown{0}, jobs{0};
  at_once([&](int, SplitMix64& random) {
    std::shared_ptr<ThreadPool> pool;
    for (int round = 0; round < 300; ++round) {
      const int threads = 1 + below(random, 4), count = below(random, 40), bad = below(random, 8) ? -1 : count / 2;
      if (!pool || below(random, 5) == 0) pool.reset();
      if (!pool) pool = ThreadPool::acquire(threads);
      std::vector<int> times(static_cast<size_t>(count)), of_thread(static_cast<size_t>(threads));
      int done = 0;
      try {
        pool->run(count, threads, [&](int64_t i, int thread) {
          ++times[static_cast<size_t>(i)];
          ++of_thread[static_cast<size_t>(thread)];
          if (i == bad) throw std::runtime_error("planted");
        });
        for (const int t : times) wrong += t != 1;
      } catch (const std::runtime_error&) {
        ++thrown;
        for (const int t : times) wrong += t > 1;
      }
      for (const int t : times) done += t;
      for (const int t : of_thread) done -= t;
      wrong += done != 0;
      ++jobs;
    }
  });
  test::equal(wrong.load(), 0, "indices that were not run once, or are missing");
  test::equal(jobs.load(), 300 * kCallers, "jobs");
  check(thrown > 0, "some threw");
}

// Whatever comes first of a request's end and its cancelling, an image's release and its use.
void engine_requests(const Family& family) {
  Setup setup;
  setup.family = family;
  Rig rig(setup);
  test::equal(rig.log.wait(0).code, std::string("loaded"), "load");
  std::atomic<int> late{0}, ends{0}, whole{0};
  at_once([&](int caller, SplitMix64& random) {
    for (int round = 0; round < 15; ++round) {
      const bool shows = below(random, 2) != 0;
      const uint64_t id = rig.engine->submit(shows ? image_request(family, 2, 1, caller, 12) : text_request(70, 20)),
                     image = rig.engine->encode(picture(1, 1, caller), {});
      if (below(random, 2)) rig.log.wait_for_tokens(id, static_cast<size_t>(below(random, 4)));
      if (below(random, 2)) rig.engine->cancel(id);
      rig.engine->stats();
      const Outcome answer = rig.log.wait(id), encoded = rig.log.wait(image);
      if (encoded.handle) rig.engine->release(encoded.handle);
      late += answer.code == "timeout" || encoded.code == "timeout";
      ends += answer.ends + encoded.ends;
      whole += answer.code == "length";
    }
  });
  test::equal(late.load(), 0, "requests that never end");
  test::equal(ends.load(), 2 * 15 * kCallers, "one end each");
  check(whole > 0, "some answers are whole");
  test::equal(rig.engine->stats().active_requests, 0, "active requests");
  check(eventually([&] { return rig.control->images_alive == 0; }), "images that are left");
}

// The engine stops while others still ask.
void engine_stops() {
  for (int round = 0; round < 5; ++round) {
    Rig rig;
    std::atomic<int> ends{0}, asked{0};
    at_once([&](int caller, SplitMix64& random) {
      for (int i = 0; i < 20; ++i) {
        const uint64_t id = rig.engine->submit(text_request(9, 5));
        if (caller == 0 && i == 10) rig.engine->begin_stop();
        if (id == 0) continue;
        ++asked;
        if (below(random, 3) == 0) rig.engine->cancel(id);
        ends += rig.log.wait(id).ends;
      }
    });
    rig.engine->stop();
    test::equal(ends.load(), asked.load(), "one end each");
    test::equal(rig.log.closed(), 1, "closed");
  }
}

}  // namespace

int main() {
  run("several threads give the pool jobs", pool_jobs);
  run("several threads ask D, cancel and encode", [] { engine_requests(kNvlmD); });
  run("several threads ask X, cancel and encode", [] { engine_requests(kNvlmX); });
  run("an engine stops while it is asked", engine_stops);
  return summary();
}
