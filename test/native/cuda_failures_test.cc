// An engine on a GPU whose memory is full, or that fails: each allocation is refused once, and some launches are
// faults. What could break: something that is taken twice, freed twice or left half made, a graph that was half
// recorded, an error without a code or a fix, a process that ends.
#include <algorithm>
#include <cstdlib>
#include <set>

#include "engine/engine.h"
#include "support/check.h"
#include "support/emulator_library.h"
#include "support/event_log.h"
#include "support/golden_request.h"
#include "support/open_library.h"

namespace {

using namespace nvlm;
using test::holds;

// Read when the library is opened, which is once for each engine.
class Setting {
 public:
  Setting(const char* name, uint64_t value) : name_(name) { setenv(name, std::to_string(value).c_str(), 1); }
  ~Setting() { unsetenv(name_); }
  Setting(const Setting&) = delete;
  Setting& operator=(const Setting&) = delete;

 private:
  const char* name_;
};

const test::GoldenCase& golden() {
  static const test::GoldenCase one = test::load_golden("h-one-tile");
  return one;
}

struct Life {
  test::Outcome load, answers[3];
};

// An engine from its load to its end. Each answer encodes the image anew; the second one's encoder becomes a graph, the
// third one is given where that failed.
Life life() {
  LoadOptions options;
  options.folder = golden().folder;
  options.device = "emulator";
  options.cuda_library = test::emulator_library();
  options.max_sequences = 1;
  options.context_length = 256;
  test::EventLog log;
  Engine engine(options, log.sink());
  Life l;
  l.load = log.wait(0);
  if (l.load.code != "loaded") return l;
  for (test::Outcome& answer : l.answers) {
    if (&answer == &l.answers[2] && l.answers[1].code == "length") {  // nothing to recover from
      answer = l.answers[1];
      break;
    }
    std::vector<test::RgbImage> images;
    Request request = test::golden_request(golden(), log.description()->config, images);
    request.max_tokens = 3;
    answer = log.wait(engine.submit(request), std::chrono::seconds(300));
  }
  return l;
}

bool answered(const test::Outcome& got, const test::Outcome& expected) {
  return got.code == expected.code && got.ids == expected.ids;
}

// Of what failed, a code with a fix; all else as if nothing had been.
void each_allocation_fails_once(const Life& truth) {
  std::set<std::string> places;
  // Without memory for cutting tiles on the device the host cuts them, and nobody sees a failure. After as many in a
  // row, no more are to come.
  constexpr int kMostUnseen = 8;
  // A sanitized build is ten times slower: it takes some.
  const uint64_t stride = std::getenv("NVLM_SANITIZE") ? 23 : 1;
  int unseen = 0;
  for (uint64_t n = 1; unseen < kMostUnseen; n += stride) {
    const Setting setting("NVLM_EMULATOR_FAIL_ALLOCATION", n);
    const std::string at = "allocation " + std::to_string(n) + ": ";
    const Life l = life();
    if (l.load.code != "loaded") {
      // Setting the device up, or the model.
      places.insert(l.load.code);
      if (!test::check(l.load.code == "device-unavailable" || l.load.code == "out-of-memory",
                       at + l.load.code + " " + l.load.message))
        return;
      if (!test::check(holds(l.load.message, "memory") && holds(l.load.message, "Close other"), at + l.load.message))
        return;
      continue;
    }
    int failed = 0;
    for (size_t i = 0; i < std::size(l.answers); ++i) {
      if (answered(l.answers[i], truth.answers[i])) continue;
      ++failed;
      places.insert("answer " + std::to_string(i));
      if (!test::check(l.answers[i].code == "out-of-memory" && holds(l.answers[i].message, "Close other"),
                       at + l.answers[i].code + " " + l.answers[i].message))
        return;
    }
    if (!test::check(failed <= 1, at + "the engine serves again")) return;
    unseen = failed == 0 ? unseen + 1 : 0;
  }
  if (stride > 1) return;
  const std::set<std::string> all = {"answer 0", "answer 1", "device-unavailable", "out-of-memory"};
  test::check(std::includes(places.begin(), places.end(), all.begin(), all.end()),
              "memory runs out when the device is set up, while loading, for images and for graphs");
}

void a_fault_stays() {
  bool loading = false, answering = false;
  for (uint64_t launch = 1;; launch = launch * 3 / 2 + 1) {
    const Setting setting("NVLM_EMULATOR_FAULT_AT", launch);
    const std::string at = "launch " + std::to_string(launch) + ": ";
    const Life l = life();
    if (l.load.code != "loaded") {
      loading = true;
      if (!test::check((l.load.code == "device-unavailable" || l.load.code == "device-failed") &&
                           holds(l.load.message, "start") && holds(l.load.message, "planted"),
                       at + l.load.code + " " + l.load.message))
        return;
      continue;
    }
    bool failed = false;
    for (const test::Outcome& answer : l.answers) {
      if (!failed && answer.code == "length") continue;
      failed = answering = true;
      if (!test::check(answer.code == "device-failed" && holds(answer.message, "End this process") &&
                           holds(answer.message, "planted"),
                       at + answer.code + " " + answer.message))
        return;
    }
    if (!failed) break;
  }
  test::check(loading && answering, "faults while loading and while answering");
}

}  // namespace

int main() {
  Life truth;
  test::run("without failures", [&] {
    truth = life();
    test::equal(truth.load.code, std::string("loaded"), truth.load.message);
    for (const test::Outcome& answer : truth.answers) test::equal(answer.code, std::string("length"), answer.message);
    test::check(!test::is_open(test::emulator_library()), "the library is closed with the engine, and its state gone");
  });
  test::run("each allocation fails once", [&] { each_allocation_fails_once(truth); });
  test::run("a fault stays", a_fault_stays);
  return test::summary();
}
