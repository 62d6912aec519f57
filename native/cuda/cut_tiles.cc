#include "cuda/cut_tiles.h"

#include <string>

#include "image/sizes.h"

namespace nvlm::gpu {
namespace {

// Of a grid's second dimension: enqueue_resize gives a block four rows of the picture, or one of the tiles.
constexpr int32_t kMostBlocks = 65535;

// Memory of the device, given back with the object: in the order of its stream, so what was enqueued may still use it.
class Scratch {
 public:
  explicit Scratch(nvlm_device* device) : device_(device) {}
  ~Scratch() {
    if (memory_) device_->give(memory_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  nvlm_status take(uint64_t bytes) { return bytes ? device_->take(bytes, &memory_) : NVLM_OK; }
  uint8_t* bytes() const { return static_cast<uint8_t*>(memory_); }
  int32_t* ints() const { return static_cast<int32_t*>(memory_); }

 private:
  nvlm_device* device_;
  void* memory_ = nullptr;
};

// The weights of one axis on the device; none where it keeps its size.
class Axis {
 public:
  Axis(nvlm_device* device, int32_t in, int32_t out)
      : device_(device), memory_(device), in_(in), out_(in == out ? 0 : out) {}

  nvlm_status send(DeviceTaps* taps) {
    *taps = {in_, out_, nullptr, nullptr, nullptr};
    if (out_ == 0) return NVLM_OK;
    const AxisTaps host = bicubic_taps(in_, out_);
    const std::vector<int32_t> words = flat_taps(host);
    const uint64_t bytes = words.size() * sizeof(int32_t);
    if (const nvlm_status status = memory_.take(bytes); status != NVLM_OK) return status;
    *taps = taps_at(memory_.ints(), host);
    return device_->check(device_->staging.send(memory_.ints(), words.data(), bytes), "sending a picture's weights");
  }

 private:
  nvlm_device* device_;
  Scratch memory_;
  int32_t in_, out_;
};

// One grid of the picture, from `rgb` to `out` on the device.
nvlm_status resize(nvlm_device* device, const nvlm_picture& p, int32_t columns, int32_t rows, const uint8_t* rgb,
                   uint8_t* out) {
  Axis across(device, p.width, columns * p.side), down(device, p.height, rows * p.side);
  Resize r{rgb, p.width, p.height, columns, rows, p.side, {}, {}, nullptr, out, device->stream};
  if (const nvlm_status status = across.send(&r.across); status != NVLM_OK) return status;
  if (const nvlm_status status = down.send(&r.down); status != NVLM_OK) return status;
  Scratch wide(device);
  if (const nvlm_status status = wide.take(static_cast<uint64_t>(resize_scratch(r))); status != NVLM_OK) return status;
  r.scratch = wide.bytes();
  return device->check(enqueue_resize(r), "resizing a picture");
}

}  // namespace

std::vector<int32_t> flat_taps(const AxisTaps& taps) {
  // About 4 weights for each pixel of the longer side, which has 2^20 at most: offsets fit.
  std::vector<int32_t> words(taps.first);
  words.insert(words.end(), taps.offset.begin(), taps.offset.end());
  words.insert(words.end(), taps.weight.begin(), taps.weight.end());
  return words;
}

DeviceTaps taps_at(const int32_t* flat, const AxisTaps& taps) {
  const int32_t* offset = flat + taps.first.size();
  return {taps.in, taps.out, flat, offset, offset + taps.offset.size()};
}

nvlm_status cut_tiles(nvlm_device* device, const nvlm_picture& p, uint8_t* tiles) {
  std::string wrong = wrong_sizes(p.width, p.height, p.columns, p.rows, p.side);
  if (wrong.empty() && (!p.rgb || !tiles)) wrong = "there are no pixels";
  if (!wrong.empty()) return device->refuse(NVLM_INVALID, "tiles can't be cut: " + wrong);
  if (p.height > 4 * kMostBlocks || p.rows * p.side > kMostBlocks)
    return device->refuse(NVLM_UNSUPPORTED, "the picture is too high for a launch");

  const uint64_t picture_bytes = uint64_t{3} * static_cast<uint64_t>(p.width) * static_cast<uint64_t>(p.height);
  const uint64_t tile_bytes = uint64_t{3} * static_cast<uint64_t>(p.side) * static_cast<uint64_t>(p.side);
  const uint64_t cut_bytes = tile_bytes * static_cast<uint64_t>(p.columns * p.rows),
                 all_bytes = cut_bytes + (p.thumbnail ? tile_bytes : 0);
  Scratch rgb(device), out(device);
  if (const nvlm_status status = rgb.take(picture_bytes); status != NVLM_OK) return status;
  if (const nvlm_status status = out.take(all_bytes); status != NVLM_OK) return status;
  if (const nvlm_status status =
          device->check(device->staging.send(rgb.bytes(), p.rgb, picture_bytes), "sending a picture");
      status != NVLM_OK)
    return status;
  if (const nvlm_status status = resize(device, p, p.columns, p.rows, rgb.bytes(), out.bytes()); status != NVLM_OK)
    return status;
  if (p.thumbnail) {
    if (const nvlm_status status = resize(device, p, 1, 1, rgb.bytes(), out.bytes() + cut_bytes); status != NVLM_OK)
      return status;
  }
  return device->check(device->staging.fetch(tiles, out.bytes(), all_bytes), "fetching tiles");
}

}  // namespace nvlm::gpu
