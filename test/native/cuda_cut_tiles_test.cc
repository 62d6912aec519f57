// Tiles cut through the CUDA library's table, in the emulator, byte for byte as image/cut_tiles.h cuts them; which
// image_test holds to Pillow.
//
// What could break: weights of the wrong axis, a pass that isn't needed, pictures longer than a staging buffer, memory
// that is not given back, sizes that overflow, a device without memory that no longer serves.
#include <algorithm>
#include <cstring>
#include <random>

#include "emulator/control.h"
#include "image/cut_tiles.h"
#include "ops/ops.h"
#include "support/check.h"
#include "support/golden.h"

using namespace nvlm;
using namespace nvlm::test;

namespace {

constexpr uint8_t kGuard = 0xA5;
constexpr size_t kGuardBytes = 64;

// The linked library's device over the emulator, configured anew.
class OpenDevice {
 public:
  explicit OpenDevice(const emulator::Settings& settings) {
    emulator::configure(settings);
    const nvlm_open_options options{};
    check(backend.open(&options, &handle) == NVLM_OK, backend.last_error(nullptr));
  }
  ~OpenDevice() {
    backend.close(handle);
    test::equal(emulator::live_allocations(), uint64_t{0}, "device memory that is left");
    test::equal(emulator::fault(), std::string(), "no fault");
  }
  const nvlm_backend& backend = *nvlm_cuda_backend();
  nvlm_device* handle = nullptr;
};

size_t tile_bytes(const nvlm_picture& p) { return size_t{3} * p.side * p.side * (p.columns * p.rows + p.thumbnail); }

std::vector<uint8_t> on_host(const nvlm_picture& p) {
  std::vector<uint8_t> tiles(tile_bytes(p));
  cut_tiles(p.rgb, p.width, p.height, p.columns, p.rows, p.side, p.thumbnail != 0, tiles.data(),
            [](int64_t n, const std::function<void(int64_t)>& body) {
              for (int64_t i = 0; i < n; ++i) body(i);
            });
  return tiles;
}

// Poisoned, with guards on both sides.
void same_as_host(const OpenDevice& device, const nvlm_picture& p, const std::string& what) {
  const std::vector<uint8_t> expected = on_host(p);
  std::vector<uint8_t> got(expected.size() + 2 * kGuardBytes, kGuard);
  const uint64_t used = device.backend.used_bytes(device.handle);
  if (!check(device.backend.cut_tiles(device.handle, &p, got.data() + kGuardBytes) == NVLM_OK,
             what + ": " + device.backend.last_error(device.handle)))
    return;
  test::equal(device.backend.used_bytes(device.handle), used, what + ": memory is given back");
  check(std::all_of(got.begin(), got.begin() + kGuardBytes, [](uint8_t b) { return b == kGuard; }) &&
            std::all_of(got.end() - kGuardBytes, got.end(), [](uint8_t b) { return b == kGuard; }),
        what + ": nothing outside of the tiles is written");
  const auto off = std::mismatch(expected.begin(), expected.end(), got.begin() + kGuardBytes);
  check(off.first == expected.end(),
        what + (off.first == expected.end() ? std::string()
                                            : ": byte " + std::to_string(off.first - expected.begin()) + " is " +
                                                  std::to_string(*off.second) + ", not " + std::to_string(*off.first)));
}

// Black and white next to each other, so that sums leave 0 .. 255.
std::vector<uint8_t> noise(int width, int height, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> rgb(size_t{3} * width * height);
  for (uint8_t& b : rgb) b = random() % 3 == 0 ? static_cast<uint8_t>(random()) : random() % 2 ? 255 : 0;
  return rgb;
}

void noise_same_as_host(const OpenDevice& device, nvlm_picture p, unsigned seed) {
  const std::vector<uint8_t> rgb = noise(p.width, p.height, seed);
  p.rgb = rgb.data();
  same_as_host(device, p,
               std::to_string(p.width) + " x " + std::to_string(p.height) + " to " + std::to_string(p.columns) + " x " +
                   std::to_string(p.rows) + " of " + std::to_string(p.side) + (p.thumbnail ? " and a thumbnail" : ""));
}

void every_golden_image(const emulator::Settings& settings) {
  OpenDevice device(settings);
  for (const std::string& name : golden_names()) {
    const GoldenCase golden = load_golden(name);
    for (int k = 0; k < golden.images(); ++k) {
      const RgbImage image = golden.image(k);
      const auto [columns, rows] = golden.grid(k);
      const auto side = static_cast<int32_t>(golden["tiles" + std::to_string(k + 1)].shape[1]);
      same_as_host(device, {image.pixels.data(), image.width, image.height, columns, rows, side, columns * rows > 1},
                   name + " image " + std::to_string(k + 1));
    }
  }
}

void shapes(const emulator::Settings& settings) {
  OpenDevice device(settings);
  const nvlm_picture all[] = {
      // The last: no pass at all.
      {nullptr, 1, 1, 1, 1, 14, 0},      {nullptr, 1, 300, 1, 3, 28, 1},  {nullptr, 300, 1, 3, 1, 28, 1},
      {nullptr, 84, 56, 3, 2, 28, 0},    {nullptr, 84, 301, 3, 2, 28, 1}, {nullptr, 301, 56, 3, 2, 28, 1},
      {nullptr, 83, 57, 3, 2, 28, 1},    {nullptr, 28, 28, 1, 1, 28, 0},  {nullptr, 200, 1500, 2, 1, 56, 1},
      {nullptr, 320, 240, 1, 1, 223, 0}, {nullptr, 5, 7, 4, 3, 65, 1},    {nullptr, 3, 2, 1, 1, 7, 1},
      {nullptr, 28, 56, 1, 1, 28, 1},  // a picture that its thumbnail has the width of
  };
  unsigned seed = 1;
  for (const nvlm_picture& p : all) noise_same_as_host(device, p, seed++);
}

// 11 MB: its bytes go up in two pieces, and the second must not reach the pinned buffer before the first has left it.
void more_than_a_staging_buffer() {
  OpenDevice device({});
  noise_same_as_host(device, {nullptr, 3600, 1024, 1, 1, 16, 0}, 9);
}

void without_memory() {
  emulator::Settings settings;
  settings.memory = uint64_t{4} << 20;
  OpenDevice device(settings);
  const uint64_t used = device.backend.used_bytes(device.handle);
  std::vector<uint8_t> out(size_t{3} * 28 * 28 * 2);
  // The picture itself; the picture as wide as its tiles.
  const std::vector<uint8_t> large = noise(2000, 1000, 1), high = noise(20, 40000, 2);
  const nvlm_picture refused[] = {{large.data(), 2000, 1000, 1, 1, 28, 0}, {high.data(), 20, 40000, 1, 1, 28, 1}};
  for (const nvlm_picture& p : refused) {
    test::equal(device.backend.cut_tiles(device.handle, &p, out.data()), NVLM_OUT_OF_MEMORY,
                "no memory for " + std::to_string(p.width) + " x " + std::to_string(p.height));
    test::equal(device.backend.used_bytes(device.handle), used, "what was taken is given back");
    noise_same_as_host(device, {nullptr, 40, 30, 1, 1, 28, 1}, 3);
  }
}

void bad_sizes() {
  OpenDevice device({});
  uint8_t pixel[3] = {}, out[3] = {};
  const auto refuses = [&](nvlm_status status, const nvlm_picture& p, const std::string& fragment) {
    test::equal(device.backend.cut_tiles(device.handle, &p, out), status, fragment);
    const std::string words = device.backend.last_error(device.handle);
    check(words.find(fragment) != std::string::npos, words + " names " + fragment);
  };
  constexpr int32_t most = INT32_MAX;
  refuses(NVLM_INVALID, {pixel, 0, 1, 1, 1, 1, 0}, "the image is 0×1");
  refuses(NVLM_INVALID, {pixel, most, most, 1, 1, 1, 0}, "the image is");
  refuses(NVLM_INVALID, {pixel, 1 << 20, 1 << 20, 1, 1, 1, 0}, "the image is");
  refuses(NVLM_INVALID, {pixel, 1, 1, most, most, 1, 0}, "the grid is");
  refuses(NVLM_INVALID, {pixel, 1, 1, 1, -1, 1, 0}, "the grid is 1×-1");
  refuses(NVLM_INVALID, {pixel, 1, 1, 2, 1, most, 1}, "the tile side is");
  refuses(NVLM_INVALID, {nullptr, 1, 1, 1, 1, 1, 0}, "no pixels");
  refuses(NVLM_UNSUPPORTED, {pixel, 1, 262141, 1, 1, 1, 0}, "too high");
  refuses(NVLM_UNSUPPORTED, {pixel, 1, 1, 1, 64, 1024, 0}, "too high");
}

}  // namespace

int main() {
  const emulator::Completion completions[] = {emulator::Completion::early, emulator::Completion::late,
                                              emulator::Completion::random};
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    emulator::Settings settings;
    settings.seed = seed;
    settings.completion = completions[seed - 1];
    const std::string at = ", seed " + std::to_string(seed);
    run("pictures of every shape" + at, [&] { shapes(settings); });
    if (seed == 3) run("every golden image" + at, [&] { every_golden_image(settings); });
  }
  run("a picture longer than a staging buffer", more_than_a_staging_buffer);
  run("without memory, that picture alone is refused", without_memory);
  run("sizes that can't be indexed are refused", bad_sizes);
  return summary();
}
