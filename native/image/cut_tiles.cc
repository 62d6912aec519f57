#include "image/cut_tiles.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "image/resample.h"
#include "image/sizes.h"
#include "platform/error.h"

namespace nvlm {
namespace {

constexpr std::int64_t kScratchBytes = std::int64_t{4} << 20;

// The image resized to (columns·side, rows·side) and cut, in bands of output rows that are computed apart from each
// other. A band resamples the source rows it needs horizontally into scratch; at the seams a few source rows are
// resampled twice, which is the price of bounded memory.
class TileCutter {
 public:
  TileCutter(const std::uint8_t* rgb, int width, int height, int columns, int rows, int side, std::uint8_t* out)
      : rgb_(rgb),
        width_(width),
        height_(height),
        columns_(columns),
        side_(side),
        out_(out),
        out_width_(columns * side),
        out_height_(rows * side) {
    if (out_width_ != width) across_ = bicubic_taps(width, out_width_);
    if (out_height_ != height) down_ = bicubic_taps(height, out_height_);
    // 64 rows make the seams cost 1/16; fewer when their source rows would need much scratch.
    const double scale = std::max(1.0, static_cast<double>(height) / out_height_);
    band_ = std::min(64, out_height_);
    while (band_ > 8 && (band_ + 4) * scale * out_width_ * 3 > kScratchBytes) band_ /= 2;
  }

  std::int64_t bands() const { return (out_height_ + band_ - 1) / band_; }

  void cut_band(std::int64_t band) const {
    const int begin = static_cast<int>(band) * band_;
    const int end = std::min(begin + band_, out_height_);
    const std::int64_t row_bytes = std::int64_t{3} * out_width_;

    // ---- Source rows of the band, resampled horizontally (or where they are, when the width fits) ----
    const int source_begin = down_.out == 0 ? begin : down_.first[index(begin)];
    const int source_end = down_.out == 0 ? end : last_tap(end - 1) + 1;
    const std::uint8_t* source = rgb_ + std::int64_t{3} * width_ * source_begin;
    std::vector<std::uint8_t> scratch;
    if (across_.out != 0) {
      scratch.resize(static_cast<std::size_t>((source_end - source_begin) * row_bytes));
      for (int y = source_begin; y < source_end; ++y) {
        resample_row(rgb_ + std::int64_t{3} * width_ * y, across_, scratch.data() + (y - source_begin) * row_bytes);
      }
      source = scratch.data();
    }

    // ---- Vertically, then each row to its tiles ----
    std::vector<std::int32_t> sums(down_.out == 0 ? 0 : static_cast<std::size_t>(row_bytes));
    std::vector<std::uint8_t> blended(down_.out == 0 ? 0 : static_cast<std::size_t>(row_bytes));
    for (int y = begin; y < end; ++y) {
      if (down_.out == 0) {
        write_row(y, source + (y - begin) * row_bytes);
        continue;
      }
      const std::int64_t offset = down_.offset[index(y)];
      blend_rows(source + (down_.first[index(y)] - source_begin) * row_bytes, row_bytes, down_.weight.data() + offset,
                 down_.offset[index(y) + 1] - offset, row_bytes, sums.data(), blended.data());
      write_row(y, blended.data());
    }
  }

 private:
  static std::size_t index(int i) { return static_cast<std::size_t>(i); }

  int last_tap(int y) const {
    return down_.first[index(y)] + static_cast<int>(down_.offset[index(y) + 1] - down_.offset[index(y)]) - 1;
  }

  void write_row(int y, const std::uint8_t* row) const {
    const std::int64_t tile_row = std::int64_t{3} * side_;
    for (int column = 0; column < columns_; ++column) {
      const std::int64_t tile = std::int64_t{y / side_} * columns_ + column;
      std::memcpy(out_ + (tile * side_ + y % side_) * tile_row, row + column * tile_row,
                  static_cast<std::size_t>(tile_row));
    }
  }

  const std::uint8_t* rgb_;
  int width_, height_, columns_, side_;
  std::uint8_t* out_;
  int out_width_, out_height_, band_ = 0;
  AxisTaps across_{}, down_{};  // out == 0: the pass is skipped
};

}  // namespace

void cut_tiles(const std::uint8_t* rgb, int width, int height, int columns, int rows, int side, bool thumbnail,
               std::uint8_t* out, const ParallelFor& parallel_for) {
  std::string wrong = wrong_sizes(width, height, columns, rows, side);
  if (wrong.empty() && (!rgb || !out)) wrong = "there are no pixels";
  if (!wrong.empty()) throw Error("internal", "Tiles can't be cut: " + wrong + ". Please report this.");

  // An exception must not leave a body: it may run on a thread where nothing catches it.
  std::atomic<bool> refused{false};
  try {
    std::vector<TileCutter> cutters;
    cutters.emplace_back(rgb, width, height, columns, rows, side, out);
    if (thumbnail)
      cutters.emplace_back(rgb, width, height, 1, 1, side, out + std::int64_t{3} * side * side * columns * rows);
    const std::int64_t first = cutters[0].bands();
    parallel_for(first + (thumbnail ? cutters[1].bands() : 0), [&](std::int64_t band) {
      try {
        if (band < first) {
          cutters[0].cut_band(band);
        } else {
          cutters[1].cut_band(band - first);
        }
      } catch (const std::bad_alloc&) {
        refused = true;
      }
    });
  } catch (const std::bad_alloc&) {
    refused = true;
  }
  if (refused)
    throw Error("out-of-memory", "There is no memory to resize an image of " + std::to_string(width) + "×" +
                                     std::to_string(height) + " pixels. Close other programs or use a smaller image.");
}

}  // namespace nvlm
