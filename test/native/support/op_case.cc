#include "support/op_case.h"

namespace nvlm::test {
namespace {

// A random value that the type holds exactly, and its stored bytes. Halves are made from their parts, so that no
// conversion is trusted here.
float stored(Random& random, nvlm_dtype dtype, uint8_t* to) {
  float value = random.uniform(-1, 1);
  if (dtype == NVLM_F32) {
    std::memcpy(to, &value, 4);
    return value;
  }
  uint16_t half;
  if (dtype == NVLM_BF16) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    half = static_cast<uint16_t>(bits >> 16);
    bits &= 0xffff0000u;
    std::memcpy(&value, &bits, 4);
  } else {
    // Exponents 2^-6 … 2^-1, and one value in 16 subnormal or zero.
    const auto mantissa = static_cast<int>(random.below(1024)),
               exponent = random.below(16) == 0 ? 0 : 9 + static_cast<int>(random.below(6));
    const bool negative = random.below(2) == 1;
    half = static_cast<uint16_t>((negative ? 0x8000 : 0) | exponent << 10 | mantissa);
    value = std::ldexp(static_cast<float>(exponent ? 1024 + mantissa : mantissa), exponent ? exponent - 25 : -24);
    if (negative) value = -value;
  }
  std::memcpy(to, &half, 2);
  return value;
}

}  // namespace

nvlm_weight_source Weight::source() const {
  nvlm_weight_source s{};
  s.use = use;
  s.parts = static_cast<int32_t>(parts.size());
  s.interleave = interleave;
  for (size_t i = 0; i < parts.size(); ++i) {
    s.part[i].data = parts[i].bytes.data() + 1;
    s.part[i].dtype = parts[i].dtype;
    s.part[i].rows = parts[i].rows;
    s.part[i].cols = parts[i].cols;
    s.part[i].row_stride = parts[i].stride;
  }
  return s;
}

Weight vector_weight(const std::vector<float>& values) {
  const auto n = static_cast<int64_t>(values.size());
  Weight w;
  w.parts.push_back({NVLM_F32, 1, n, n, std::vector<uint8_t>(1 + values.size() * 4)});
  std::memcpy(w.parts[0].bytes.data() + 1, values.data(), values.size() * 4);
  w.values = values;
  return w;
}

Weight matrix_weight(Random& random, nvlm_weight_use use, const std::vector<int64_t>& part_rows, int64_t cols,
                     nvlm_dtype dtype, bool interleave, int64_t gap) {
  const int64_t element = dtype == NVLM_F32 ? 4 : 2;
  Weight w;
  w.use = use;
  w.interleave = interleave;
  int64_t first = 0, all = 0;
  for (const int64_t rows : part_rows) all += rows;
  w.values.resize(static_cast<size_t>(all * cols));
  for (size_t p = 0; p < part_rows.size(); ++p) {
    Weight::Part part{dtype, part_rows[p], cols, cols + gap, {}};
    // What lies between the rows reads as NaN, should anyone look.
    part.bytes.assign(static_cast<size_t>(1 + (part.rows * part.stride) * element), 0xff);
    for (int64_t r = 0; r < part.rows; ++r) {
      const int64_t row = interleave ? 2 * r + static_cast<int64_t>(p) : first + r;
      for (int64_t c = 0; c < cols; ++c) {
        w.values[static_cast<size_t>(row * cols + c)] =
            stored(random, dtype, part.bytes.data() + 1 + (r * part.stride + c) * element);
      }
    }
    first += part.rows;
    w.parts.push_back(std::move(part));
  }
  return w;
}

nvlm_batch Batch::view(nvlm_sampled* sampled) const {
  nvlm_batch b{};
  b.tiles = tiles;
  b.rows = rows;
  b.outs = outs;
  b.sequences = row_begin.empty() ? 0 : static_cast<int32_t>(row_begin.size()) - 1;
  b.pixels = pixels.data();
  b.token = token.data();
  b.source = source.empty() ? nullptr : source.data();
  b.position = position.data();
  b.kv_slot = kv_slot.data();
  b.self_begin = self_begin.data();
  b.self_end = self_end.data();
  b.cross_begin = cross_begin.data();
  b.cross_end = cross_end.data();
  b.row_begin = row_begin.data();
  b.self_pages = {self_pages.begin.data(), self_pages.page.data(), self_pages.fill.data()};
  b.cross_pages = {cross_pages.begin.data(), cross_pages.page.data(), cross_pages.fill.data()};
  b.out_row = out_row.data();
  b.sampling = sampling.data();
  b.sampled = sampled;
  return b;
}

}  // namespace nvlm::test
