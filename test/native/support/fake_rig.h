// An engine over the fake model, with requests for it: what the tests of scheduling and of endings share.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "support/check.h"
#include "support/event_log.h"
#include "support/fake_model.h"
#include "support/families.h"

namespace nvlm::test {

struct Setup {
  Family family = kNvlmD;
  int max_sequences = 4, context = 1024, max_images = 4, step_rows = 256;
  bool hold_load = false;
};

struct Rig {
  explicit Rig(Setup setup = {}) : control(std::make_shared<FakeControl>()) {
    LoadOptions options;
    options.max_sequences = setup.max_sequences;
    options.context_length = setup.context;
    options.max_images = setup.max_images;
    options.step_rows = setup.step_rows;
    options.max_tiles = 6;
    control->hold_load = setup.hold_load;
    auto shared = control;
    engine = std::make_unique<Engine>(
        options, log.sink(),
        [setup, shared](const LoadOptions& o, const auto& progress, const volatile int32_t* cancel) {
          progress(1, 2);
          progress(2, 2);
          while (shared->hold_load) {
            if (std::atomic_ref<int32_t>(const_cast<int32_t&>(*cancel)).load()) throw Error("aborted", "Aborted.");
            std::this_thread::sleep_for(std::chrono::microseconds(200));
          }
          return std::make_unique<FakeModel>(setup.family, o, shared);
        });
  }

  std::shared_ptr<FakeControl> control;
  EventLog log;
  std::unique_ptr<Engine> engine;
};

inline Request text_request(int prompt, int max_tokens, int start = 1) {
  Request request;
  for (int i = 0; i < prompt; ++i) request.prompt.ids.push_back((start + i * 7) % FakeModel::kVocab);
  request.max_tokens = max_tokens;
  request.sampling.seed = 5;
  return request;
}

// A picture that lives as long as the program.
inline ImageInput picture(int columns, int rows, int shade = 3) {
  static std::vector<std::unique_ptr<std::vector<uint8_t>>> all;
  static std::mutex mutex;
  const int width = 8 * columns, height = 8 * rows;
  auto pixels = std::make_unique<std::vector<uint8_t>>(static_cast<size_t>(width * height * 3));
  for (size_t i = 0; i < pixels->size(); ++i) (*pixels)[i] = static_cast<uint8_t>(i * static_cast<size_t>(shade) % 251);
  ImageInput image;
  image.pixels = pixels->data();
  image.width = width;
  image.height = height;
  image.columns = columns;
  image.rows = rows;
  const std::lock_guard lock(mutex);
  all.push_back(std::move(pixels));
  return image;
}

inline int tiles_of(int columns, int rows) { return columns * rows > 1 ? columns * rows + 1 : 1; }

// D: text, the image's slots, text. X: text, text that attends to the image. `tiles` with the thumbnail.
inline void add_image(Request& request, Family family, ImageInput image, int tiles) {
  const int index = static_cast<int>(request.images.size());
  if (family == kNvlmD) {
    for (int tile = 0; tile < tiles; ++tile) {
      request.prompt.slots.push_back({static_cast<int32_t>(request.prompt.ids.size()), index, tile});
      request.prompt.ids.insert(request.prompt.ids.end(), 16, 0);
    }
  }
  request.prompt.ids.push_back(17);
  request.prompt.image_ends.push_back(static_cast<int32_t>(request.prompt.ids.size()));
  request.prompt.ids.insert(request.prompt.ids.end(), {21, 22, 23});
  request.images.push_back(image);
}

inline Request image_request(Family family, int columns, int rows, int shade, int max_tokens) {
  Request request = text_request(5, max_tokens, shade);
  add_image(request, family, picture(columns, rows, shade), tiles_of(columns, rows));
  return request;
}

inline Outcome alone(Family family, const Request& request) {
  Setup setup;
  setup.family = family;
  Rig rig(setup);
  return rig.log.wait(rig.engine->submit(request));
}

inline void same(const Outcome& got, const Outcome& expected, const std::string& what) {
  check(got.ids == expected.ids && !got.ids.empty(), what + ": same ids (" + got.code + " " + got.message + ")");
  test::equal(got.code, expected.code, what + ": same end");
  test::equal(got.ends, 1, what + ": one end");
}

inline void ended(const Outcome& outcome, const std::string& code, const std::string& what) {
  test::equal(outcome.code, code, what + " (" + outcome.message + ")");
  test::equal(outcome.ends, 1, what + ": one end");
}

inline bool eventually(const std::function<bool()>& holds) {
  for (int i = 0; i < 20000; ++i) {
    if (holds()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

}  // namespace nvlm::test
