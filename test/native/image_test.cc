// Resampling and tile cutting against the golden tiles, bit for bit, and what bands, threads and odd sizes could break.
#include "image/cut_tiles.h"

#include <cstring>
#include <mutex>
#include <random>
#include <thread>

#include "image/resample.h"
#include "support/check.h"
#include "support/golden.h"

using namespace nvlm;
using namespace nvlm::test;

namespace {

const ParallelFor serial = [](std::int64_t n, const std::function<void(std::int64_t)>& body) {
  for (std::int64_t i = 0; i < n; ++i) body(i);
};

// Two threads, the work in reverse order: a band that depends on another shows.
const ParallelFor two_threads = [](std::int64_t n, const std::function<void(std::int64_t)>& body) {
  std::thread other([&] {
    for (std::int64_t i = n - 1; i >= 0; i -= 2) body(i);
  });
  for (std::int64_t i = n - 2; i >= 0; i -= 2) body(i);
  other.join();
};

constexpr std::uint8_t kGuard = 0xA5;
constexpr std::size_t kGuardBytes = 64;

// Tiles with poisoned memory and guards on both sides.
std::vector<std::uint8_t> cut(const RgbImage& image, int columns, int rows, int side, bool thumbnail,
                              const ParallelFor& parallel_for) {
  const std::size_t bytes = std::size_t{3} * side * side * (columns * rows + (thumbnail ? 1 : 0));
  std::vector<std::uint8_t> out(bytes + 2 * kGuardBytes, kGuard);
  cut_tiles(image.pixels.data(), image.width, image.height, columns, rows, side, thumbnail, out.data() + kGuardBytes,
            parallel_for);
  for (std::size_t i = 0; i < kGuardBytes; ++i) {
    if (out[i] != kGuard || out[kGuardBytes + bytes + i] != kGuard) {
      check(false, "bytes outside the tiles were written");
      break;
    }
  }
  return {out.begin() + kGuardBytes, out.begin() + static_cast<std::ptrdiff_t>(kGuardBytes + bytes)};
}

void same_bytes(const std::vector<std::uint8_t>& got, const std::vector<std::uint8_t>& expected,
                const std::string& what) {
  if (!test::equal(got.size(), expected.size(), what + ": bytes")) return;
  std::size_t wrong = 0, first = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (got[i] != expected[i] && wrong++ == 0) first = i;
  }
  check(wrong == 0,
        what + ": " + std::to_string(wrong) + " bytes differ, the first at " + std::to_string(first) +
            (wrong ? ", expected " + std::to_string(expected[first]) + " but got " + std::to_string(got[first]) : ""));
}

RgbImage noise(int width, int height, unsigned seed) {
  std::mt19937 random(seed);
  RgbImage image{width, height, std::vector<std::uint8_t>(std::size_t{3} * width * height)};
  for (auto& byte : image.pixels) byte = static_cast<std::uint8_t>(random());
  return image;
}

// The whole picture at once, unbanded, straight from the formula in 64-bit integers: what the bands must add up to.
std::vector<std::uint8_t> resize_plainly(const RgbImage& image, int width, int height) {
  const auto byte = [](std::int64_t sum) {
    return static_cast<std::uint8_t>(std::clamp<std::int64_t>((sum + (1 << 21)) >> 22, 0, 255));
  };
  std::vector<std::uint8_t> wide(std::size_t{3} * width * image.height);
  const AxisTaps across = bicubic_taps(image.width, width), down = bicubic_taps(image.height, height);
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < 3; ++c) {
        std::int64_t sum = 0;
        for (std::int64_t t = across.offset[x]; t < across.offset[x + 1]; ++t) {
          sum += std::int64_t{across.weight[t]} *
                 image.pixels[3 * (std::size_t{1} * y * image.width + across.first[x] + t - across.offset[x]) + c];
        }
        wide[3 * (std::size_t{1} * y * width + x) + c] =
            width == image.width ? image.pixels[3 * (std::size_t{1} * y * width + x) + c] : byte(sum);
      }
    }
  }
  if (height == image.height) return wide;
  std::vector<std::uint8_t> out(std::size_t{3} * width * height);
  for (int y = 0; y < height; ++y) {
    for (int j = 0; j < 3 * width; ++j) {
      std::int64_t sum = 0;
      for (std::int64_t t = down.offset[y]; t < down.offset[y + 1]; ++t) {
        sum += std::int64_t{down.weight[t]} * wide[std::size_t{3} * width * (down.first[y] + t - down.offset[y]) + j];
      }
      out[std::size_t{3} * width * y + j] = byte(sum);
    }
  }
  return out;
}

std::vector<std::uint8_t> to_tiles(const std::vector<std::uint8_t>& picture, int columns, int rows, int side) {
  std::vector<std::uint8_t> tiles;
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < columns; ++c) {
      for (int y = 0; y < side; ++y) {
        const auto* row = picture.data() + std::size_t{3} * side * ((std::size_t{1} * r * side + y) * columns + c);
        tiles.insert(tiles.end(), row, row + std::size_t{3} * side);
      }
    }
  }
  return tiles;
}

void every_golden_tile() {
  for (const std::string& name : golden_names()) {
    const GoldenCase golden = load_golden(name);
    for (int k = 0; k < golden.images(); ++k) {
      const std::string tensor = "tiles" + std::to_string(k + 1);
      const std::vector<std::uint8_t> expected(golden[tensor].u8(), golden[tensor].u8() + golden[tensor].count());
      const auto [columns, rows] = golden.grid(k);
      const int side = static_cast<int>(golden[tensor].shape[1]);
      const RgbImage image = golden.image(k);
      const bool thumbnail = columns * rows > 1;
      same_bytes(cut(image, columns, rows, side, thumbnail, serial), expected, name + " " + tensor);
      same_bytes(cut(image, columns, rows, side, thumbnail, two_threads), expected,
                 name + " " + tensor + ", two threads");
    }
  }
}

void bands_equal_the_whole_picture() {
  struct Shape {
    int width, height, columns, rows, side;
  };
  const Shape shapes[] = {
      // The last: no pass at all.
      {1, 1, 1, 1, 14},    {1, 300, 1, 3, 28},    {300, 1, 3, 1, 28},    {84, 56, 3, 2, 28},    {84, 301, 3, 2, 28},
      {301, 56, 3, 2, 28}, {83, 57, 3, 2, 28},    {200, 1500, 2, 1, 56}, {1500, 200, 1, 2, 56}, {320, 240, 1, 1, 223},
      {5, 7, 4, 3, 65},    {10, 2560, 10, 1, 64},  // the last: smaller bands
  };
  unsigned seed = 1;
  for (const Shape& s : shapes) {
    const RgbImage image = noise(s.width, s.height, seed++);
    auto expected = to_tiles(resize_plainly(image, s.columns * s.side, s.rows * s.side), s.columns, s.rows, s.side);
    const auto small = resize_plainly(image, s.side, s.side);
    expected.insert(expected.end(), small.begin(), small.end());
    const std::string what = std::to_string(s.width) + "×" + std::to_string(s.height) + " to " +
                             std::to_string(s.columns) + "×" + std::to_string(s.rows) + "·" + std::to_string(s.side);
    same_bytes(cut(image, s.columns, s.rows, s.side, true, two_threads), expected, what);
  }
}

void black_and_white_edges_clamp() {
  // A cubic overshoots beside a hard edge: without clamping, 255 wraps to 0 and 0 to 255.
  RgbImage image{64, 64, std::vector<std::uint8_t>(std::size_t{3} * 64 * 64)};
  for (int y = 0; y < 64; ++y) {
    for (int x = 0; x < 64; ++x)
      std::memset(&image.pixels[std::size_t{3} * (y * 64 + x)], (x / 16 + y / 16) % 2 ? 255 : 0, 3);
  }
  same_bytes(cut(image, 1, 1, 150, false, serial), resize_plainly(image, 150, 150), "edges");
}

void weights_sum_to_one() {
  for (const auto& [in, out] : {std::pair{1, 448}, {448, 1}, {1000, 448}, {448, 1000}, {7, 7}, {100000, 3}}) {
    const AxisTaps taps = bicubic_taps(in, out);
    const std::string what = std::to_string(in) + " to " + std::to_string(out);
    test::equal(taps.first.size(), static_cast<std::size_t>(out), what);
    for (int i = 0; i < out; ++i) {
      const std::int64_t begin = taps.offset[i], end = taps.offset[i + 1];
      std::int64_t sum = 0, magnitude = 0;
      for (std::int64_t t = begin; t < end; ++t) sum += taps.weight[t], magnitude += std::abs(taps.weight[t]);
      // Each weight is rounded by at most one half.
      const bool good = begin < end && taps.first[i] >= 0 && taps.first[i] + (end - begin) <= in &&
                        std::abs(sum - (1 << 22)) <= (end - begin) / 2 + 1 && magnitude < (1 << 23);
      if (!good || i == 0) check(good, what + ", output " + std::to_string(i));
    }
  }
}

void bad_sizes_are_refused() {
  std::uint8_t pixel[3] = {}, out[3] = {};
  const auto refuses = [&](int width, int height, int columns, int rows, int side, const std::string& fragment) {
    throws("internal", {fragment}, [&] { cut_tiles(pixel, width, height, columns, rows, side, false, out, serial); });
  };
  refuses(0, 1, 1, 1, 1, "0×1");
  refuses(1, -1, 1, 1, 1, "1×-1");
  refuses(2147483647, 2147483647, 1, 1, 1, "the image is");
  refuses(1 << 20, 1 << 20, 1, 1, 1, "the image is");
  refuses(1, 1, 0, 1, 1, "the grid is");
  refuses(1, 1, 2147483647, 2147483647, 1, "the grid is");
  refuses(1, 1, 100, 100, 1, "the grid is");
  refuses(1, 1, 1, 1, 0, "the tile side is");
  refuses(1, 1, 2, 1, 2147483647, "the tile side is");
  throws("internal", {"no pixels"}, [&] { cut_tiles(nullptr, 1, 1, 1, 1, 1, false, out, serial); });
}

}  // namespace

int main() {
  run("every golden tile is equal to Pillow's", every_golden_tile);
  run("bands and threads add up to the whole picture", bands_equal_the_whole_picture);
  run("overshoot is clamped", black_and_white_edges_clamp);
  run("the weights of an output sum to one and stay inside the input", weights_sum_to_one);
  run("sizes that can't be indexed are refused", bad_sizes_are_refused);
  return summary();
}
