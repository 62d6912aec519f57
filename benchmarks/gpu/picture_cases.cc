// From a picture to the encoder's first rows: resized and cut into tiles, and tiles to embedded patches.
#include "cuda/cut_tiles.h"
#include "cuda/weights.h"
#include "op_cases.h"
#include "support/pixels.h"

namespace nvlm::times {
namespace {

std::vector<uint8_t> random_bytes(uint64_t seed, int64_t count) {
  test::SplitMix64 random(seed);
  std::vector<uint8_t> bytes(static_cast<size_t>(count));
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(random.bits() >> 56);
  return bytes;
}

// A patch's row is bf16.
double normalised(uint8_t value, int64_t channel) {
  return to_float(to_bf16(test::normalised(value, static_cast<int>(channel))));
}

}  // namespace

Line patch_embed(const Machine& machine, const PatchShape& s) {
  const int64_t grid = s.side / s.patch, patches = grid * grid, rows = s.tiles * (patches + 1),
                depth = int64_t{3} * s.patch * s.patch, pitch = pitch_of(depth);
  const int64_t pixel_count = int64_t{s.tiles} * s.side * s.side * 3;
  const double bytes = static_cast<double>(pixel_count) + 2.0 * static_cast<double>(s.n * depth + rows * s.n) +
                       4.0 * static_cast<double>((patches + 1) * s.n);
  const int buffers = buffers_for(machine, bytes);
  const Pattern w(2, static_cast<float>(2 / std::sqrt(static_cast<double>(depth)))), bias(4, 1), class_token(5, 1),
      positions(6, 1);
  const std::vector<uint8_t> pixels = random_bytes(3, pixel_count);
  std::vector<bf16> matrix(static_cast<size_t>(s.n * pitch));  // its padding is zero
  for (int64_t i = 0; i < s.n * pitch; ++i)
    matrix[static_cast<size_t>(i)] = to_bf16(i % pitch < depth ? static_cast<float>(w.at(i)) : 0);
  Buffers in, weight;
  for (int i = 0; i < buffers; ++i)
    in.push_back(on_device(machine, pixels)), weight.push_back(on_device(machine, matrix));
  const Buffers out = unwritten(machine, buffers, rows * s.n * 2);
  const auto bias_memory = floats_on_device(machine, bias, s.n),
             class_memory = floats_on_device(machine, class_token, s.n),
             position_memory = floats_on_device(machine, positions, (patches + 1) * s.n);
  const DeviceWeight bias_weight = vector_of(*bias_memory), class_weight = vector_of(*class_memory),
                     position_weight = vector_of(*position_memory);
  WorkspaceNeed need = gemm_workspace(machine.info, s.tiles * patches, s.n, pitch);
  need.floats += patch_embed_workspace(s.tiles, s.side, s.patch);
  const Scratch scratch(machine, need);
  nvlm_record record{};
  record.op = NVLM_PATCH_EMBED;
  record.c.side = s.side, record.c.patch = s.patch;
  const auto enqueue = [&](int i) {
    const auto at = static_cast<size_t>(i);
    const DeviceWeight matrix_weight{NVLM_MATRIX, false, s.n, depth, pitch, weight[at]->as<void>()};
    DeviceBatch batch{};
    batch.tiles = s.tiles;
    batch.pixels = in[at]->as<uint8_t>();
    Op op = op_of(machine, record);
    writes(&op, *out[at], rows, s.n);
    op.w = &matrix_weight, op.bias = &bias_weight, op.class_token = &class_weight, op.positions = &position_weight;
    op.batch = &batch;
    op.workspace = &scratch.workspace;
    expect(enqueue_patch_embed(op), s.name);
  };
  enqueue(0);
  Difference difference;
  for (int64_t i = 0; i < 40; ++i) {
    // Every eighth is a class row.
    const int64_t row = i % 8 == 0 ? sampled(i / 8, s.tiles) * (patches + 1) : sampled(i, rows),
                  column = sampled(3 * i + 1, s.n), tile = row / (patches + 1), patch = row % (patches + 1) - 1;
    double value = positions.at((patch + 1) * s.n + column), size = 0;
    if (patch < 0) {
      value += class_token.at(column);
    } else {
      for (int64_t k = 0; k < depth; ++k) {
        const int64_t channel = k / (s.patch * s.patch), y = patch / grid * s.patch + k / s.patch % s.patch,
                      x = patch % grid * s.patch + k % s.patch;
        const double term =
            normalised(pixels[static_cast<size_t>(((tile * s.side + y) * s.side + x) * 3 + channel)], channel) *
            to_float(matrix[static_cast<size_t>(column * pitch + k)]);
        value += term;
        size += term * term;
      }
      value += bias.at(column);
    }
    difference.add(bf16_at(*out[0], row * s.n + column), value,
                   kHalfUlp * std::abs(value) + kSums * (std::sqrt(size) + 1e-2), row, column);
  }
  difference.expect_none();
  return {s.name,
          record.op,
          "product",
          timed(machine, buffers, enqueue),
          2.0 * static_cast<double>(s.tiles * patches * s.n * depth),
          bytes};
}

namespace {

// The weights of one axis on the device; none where it keeps its size.
struct Axis {
  Axis(const Machine& machine, int32_t in, int32_t out) : taps(bicubic_taps(in, out)) {
    if (in == out) return;
    memory = on_device(machine, flat_taps(taps));
    device = taps_at(memory->as<int32_t>(), taps);
  }

  // Output i of what `at` gives, rounded to a byte.
  template <typename At>
  uint8_t byte(int64_t i, const At& at) const {
    const auto index = static_cast<size_t>(i);
    if (!memory) return at(i);
    int64_t sum = int64_t{1} << 21;  // a half of 22 fractional bits
    for (int64_t t = taps.offset[index]; t < taps.offset[index + 1]; ++t)
      sum += int64_t{taps.weight[static_cast<size_t>(t)]} * at(taps.first[index] + t - taps.offset[index]);
    return static_cast<uint8_t>(std::clamp<int64_t>(sum >> 22, 0, 255));
  }

  AxisTaps taps;
  std::unique_ptr<Memory> memory;
  DeviceTaps device{};
};

}  // namespace

Line resize(const Machine& machine, const PictureShape& s) {
  const int32_t width = s.columns * s.side, height = s.rows * s.side;
  const int64_t in_bytes = int64_t{3} * s.width * s.height, out_bytes = int64_t{3} * width * height;
  const double bytes = static_cast<double>(in_bytes + out_bytes);
  const int buffers = buffers_for(machine, bytes);
  const std::vector<uint8_t> rgb = random_bytes(3, in_bytes);
  Buffers in;
  for (int i = 0; i < buffers; ++i) in.push_back(on_device(machine, rgb));
  const Buffers out = unwritten(machine, buffers, out_bytes);
  const Axis across(machine, s.width, width), down(machine, s.height, height);
  Resize resize{nullptr,       s.width,     s.height, s.columns, s.rows,        s.side,
                across.device, down.device, nullptr,  nullptr,   machine.stream};
  const Memory scratch(machine, static_cast<uint64_t>(std::max<int64_t>(1, resize_scratch(resize))));
  resize.scratch = scratch.as<uint8_t>();
  const auto enqueue = [&](int i) {
    Resize one = resize;
    one.rgb = in[static_cast<size_t>(i)]->as<uint8_t>();
    one.out = out[static_cast<size_t>(i)]->as<uint8_t>();
    expect(enqueue_resize(one), s.name);
  };
  enqueue(0);
  Difference difference;
  for (int64_t i = 0; i < 64; ++i) {
    const int64_t y = sampled(i, height), x = sampled(3 * i + 1, width), c = i % 3;
    const uint8_t value = down.byte(y, [&](int64_t row) {
      return across.byte(x, [&](int64_t column) { return rgb[static_cast<size_t>((row * s.width + column) * 3 + c)]; });
    });
    const int64_t tile = y / s.side * s.columns + x / s.side,
                  at = ((tile * s.side + y % s.side) * s.side + x % s.side) * 3 + c;
    difference.add(out[0]->read<uint8_t>(static_cast<uint64_t>(at), 1)[0], value, 0, y, x);
  }
  difference.expect_none();
  return {s.name, kNoOp, "memory", timed(machine, buffers, enqueue), 0, bytes};
}

}  // namespace nvlm::times
