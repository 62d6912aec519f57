// Norms: rows of the encoder and of the decoder, queries and keys of InternViT-6B, and the projector's shuffled blocks.
#include "op_cases.h"

namespace nvlm::times {
namespace {

// Float32 sums over a row of some thousand, added up as a tree: a few 1e-6 of their size.
constexpr double kSmall = 1e-5;

// A norm's weight and bias, and what they make of one value of a row.
struct NormWeights {
  NormWeights(const Machine& machine, int64_t columns, uint64_t seed = 8)
      : w_values(seed, 2),
        bias_values(seed + 1, 1),
        cols(columns),
        w(floats_on_device(machine, w_values, columns)),
        bias(floats_on_device(machine, bias_values, columns)),
        w_weight(vector_of(*w)),
        bias_weight(vector_of(*bias)) {}

  // `at(c)`: the row.
  template <typename At>
  void compare(double got, const At& at, bool layer_norm, double eps, int64_t row, int64_t column,
               Difference* difference) const {
    double sum = 0, squares = 0;
    for (int64_t c = 0; c < cols; ++c) sum += at(c);
    const double mean = layer_norm ? sum / static_cast<double>(cols) : 0;
    for (int64_t c = 0; c < cols; ++c) squares += (at(c) - mean) * (at(c) - mean);
    const double scaled =
                     (at(column) - mean) / std::sqrt(squares / static_cast<double>(cols) + eps) * w_values.at(column),
                 value = scaled + (layer_norm ? bias_values.at(column) : 0);
    difference->add(got, value,
                    kHalfUlp * std::abs(value) + kSmall * (std::abs(scaled) + std::abs(value) +
                                                           (layer_norm ? std::abs(w_values.at(column)) : 0)),
                    row, column);
  }

  Pattern w_values, bias_values;
  int64_t cols;
  std::unique_ptr<Memory> w, bias;
  DeviceWeight w_weight, bias_weight;
};

}  // namespace

Line norm(const Machine& machine, const std::string& name, nvlm_op which, int64_t rows, int64_t cols) {
  const bool layer_norm = which == NVLM_LAYER_NORM;
  const double bytes = 4.0 * static_cast<double>(rows * cols);
  const int buffers = buffers_for(machine, bytes);
  const Pattern a(5, 1);
  const Buffers in = filled(machine, a, buffers, rows * cols), out = unwritten(machine, buffers, rows * cols * 2);
  const NormWeights weights(machine, cols);
  nvlm_record record{};
  record.op = which;
  record.c.eps = 1e-6f;
  const auto enqueue = [&](int i) {
    const auto at = static_cast<size_t>(i);
    Op op = op_of(machine, record);
    reads(&op, *in[at], rows, cols);
    writes(&op, *out[at], rows, cols);
    op.w = &weights.w_weight;
    if (layer_norm) op.bias = &weights.bias_weight;
    expect(layer_norm ? enqueue_layer_norm(op) : enqueue_rms_norm(op), name);
  };
  enqueue(0);
  Difference difference;
  for (int64_t i = 0; i < 16; ++i) {
    const int64_t row = sampled(i, rows), column = sampled(3 * i + 1, cols);
    weights.compare(
        bf16_at(*out[0], row * cols + column), [&](int64_t c) { return a.at(row * cols + c); }, layer_norm,
        record.c.eps, row, column, &difference);
  }
  difference.expect_none();
  return {name, record.op, "memory", timed(machine, buffers, enqueue), 0, bytes};
}

Line qk_norm(const Machine& machine, const std::string& name, int64_t rows, int64_t width) {
  const double bytes = 8.0 * static_cast<double>(rows * width);  // queries and keys, read and written
  const int buffers = buffers_for(machine, 1.5 * bytes);         // values lie between
  const Pattern a(5, 1);
  const Buffers qkv = filled(machine, a, buffers, rows * 3 * width);
  const NormWeights query(machine, width), key(machine, width, 18);
  nvlm_record record{};
  record.op = NVLM_QK_NORM;
  record.c.eps = 1e-6f;
  const auto enqueue = [&](int i) {
    Op op = op_of(machine, record);
    writes(&op, *qkv[static_cast<size_t>(i)], rows, 3 * width);
    op.q_norm = &query.w_weight;
    op.k_norm = &key.w_weight;
    expect(enqueue_qk_norm(op), name);
  };
  enqueue(0);  // in place: later ones norm what is normed
  Difference difference;
  for (int64_t i = 0; i < 16; ++i) {
    const int64_t row = sampled(i, rows), column = sampled(3 * i + 1, width);
    for (int64_t part = 0; part < 3; ++part) {
      const int64_t first = (row * 3 + part) * width;
      const double got = bf16_at(*qkv[0], first + column);
      if (part == 2) {
        difference.add(got, a.at(first + column), 0, row, part * width + column);
      } else {
        (part == 0 ? query : key)
            .compare(
                got, [&](int64_t c) { return a.at(first + c); }, false, record.c.eps, row, column, &difference);
      }
    }
  }
  difference.expect_none();
  return {name, record.op, "memory", timed(machine, buffers, enqueue), 0, bytes};
}

Line pixel_shuffle_norm(const Machine& machine, const ShuffleShape& s) {
  const int32_t side = s.grid / s.ratio;
  const int64_t patches = int64_t{s.grid} * s.grid, tokens = int64_t{side} * side, in_rows = s.tiles * (1 + patches),
                rows = s.tiles * tokens, cols = s.ratio * s.ratio * s.n;
  const double bytes = 4.0 * static_cast<double>(rows * cols);  // class rows are passed over
  const int buffers = buffers_for(machine, bytes);
  const Pattern a(5, 1);
  const Buffers in = filled(machine, a, buffers, in_rows * s.n), out = unwritten(machine, buffers, rows * cols * 2);
  const NormWeights weights(machine, cols);
  nvlm_record record{};
  record.op = NVLM_PIXEL_SHUFFLE_NORM;
  record.c.eps = 1e-5f;
  record.c.grid = s.grid, record.c.ratio = s.ratio, record.c.transpose = s.transpose;
  const auto enqueue = [&](int i) {
    const auto at = static_cast<size_t>(i);
    Op op = op_of(machine, record);
    reads(&op, *in[at], in_rows, s.n);
    writes(&op, *out[at], rows, cols);
    op.w = &weights.w_weight;
    op.bias = &weights.bias_weight;
    expect(enqueue_pixel_shuffle_norm(op), s.name);
  };
  enqueue(0);
  Difference difference;
  for (int64_t i = 0; i < 16; ++i) {
    const int64_t row = sampled(i, rows), column = sampled(3 * i + 1, cols), token = row % tokens;
    const int64_t down = (s.transpose ? token % side : token / side) * s.ratio,
                  across = (s.transpose ? token / side : token % side) * s.ratio;
    const auto value = [&](int64_t c) {
      const int64_t block = c / s.n, y = down + block / s.ratio, x = across + block % s.ratio;
      return a.at((row / tokens * (1 + patches) + 1 + y * s.grid + x) * s.n + c % s.n);
    };
    weights.compare(bf16_at(*out[0], row * cols + column), value, true, record.c.eps, row, column, &difference);
  }
  difference.expect_none();
  return {s.name, record.op, "memory", timed(machine, buffers, enqueue), 0, bytes};
}

}  // namespace nvlm::times
