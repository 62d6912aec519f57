// linear, linear_gelu, linear_swiglu, linear_residual, logits (spec sections 4 and 6): out [m, n] = f(x [m, k] · wᵀ), w
// [n, k] in bf16, f16 or f32, sums in f32.
//
// Layout: weight rows in panels of two vectors (AVX2: 16 columns), [n/16][k][16] in the stored format, the last panel
// zero-padded. One layout serves many rows and one: a step along k reads 16 neighbouring weights whatever the number of
// rows. Gate and up rows share a panel: the first vector's columns are gates, the second's their ups, so that SwiGLU
// needs no shuffle. Threads: a grid of row blocks
// × panel groups. A row block's x stays in the second-level cache while the panels of the group pass.
#include <cmath>

#include "cpu/set/kernels.h"
#include "cpu/set/linear.h"
#include "cpu/set/math.h"

namespace nvlm::cpu::NVLM_CPU_SET {
namespace {

constexpr int64_t kRowBlock = 8 * kRows;
constexpr int64_t kPanelGroup = 4;

struct F32 {
  using Stored = float;
  static Vec load(const float* p) { return NVLM_CPU_SET::load(p); }
};
struct Bf16 {
  using Stored = uint16_t;
  static Vec load(const uint16_t* p) { return load_bf16(p); }
};
struct F16 {
  using Stored = uint16_t;
  static Vec load(const uint16_t* p) { return load_f16(p); }
};

// ---- Inner loop: R rows × P neighbouring panels. Every sum runs along k from 0 with nothing kept apart, so that a
// row's result has the same bits whatever rows stand beside it; few rows take several panels instead, to have enough
// independent sums. ----

template <typename Format, int R, int P>
void multiply(const float* const* x, const typename Format::Stored* w, int64_t k, Vec (&sum)[P][R][2]) {
  for (int p = 0; p < P; ++p) {
    for (int r = 0; r < R; ++r) sum[p][r][0] = sum[p][r][1] = set(0.0f);
  }
  for (int64_t i = 0; i < k; ++i) {
    for (int p = 0; p < P; ++p) {
      const typename Format::Stored* at = w + (p * k + i) * kPanel;
      const Vec w0 = Format::load(at), w1 = Format::load(at + kLanes);
      for (int r = 0; r < R; ++r) {
        const Vec a = set(x[r][i]);
        sum[p][r][0] = fma(a, w0, sum[p][r][0]);
        sum[p][r][1] = fma(a, w1, sum[p][r][1]);
      }
    }
  }
}

// ---- Epilogues: the two vectors of a row's panel go out; `valid` columns of the panel exist. ----

// The first `count` lanes, where a whole vector would run over the end.
Vec load_some(const float* p, int64_t count) {
  if (count >= kLanes) return load(p);
  float buffer[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) buffer[i] = p[i];
  return load(buffer);
}

void store_some(float* p, Vec a, int64_t count) {
  if (count >= kLanes) return store(p, a);
  float buffer[kLanes];
  store(buffer, a);
  for (int64_t i = 0; i < count; ++i) p[i] = buffer[i];
}

// value(column, affine result, lanes there are) -> what is stored at out[row][column].
template <typename Value>
void store_panel(const host::Op& op, int64_t row, int64_t panel, const Vec (&sum)[2], Value value) {
  for (int c = 0; c < 2; ++c) {
    const int64_t column = panel * kPanel + c * kLanes, left = op.out_cols - column;
    if (left <= 0) return;
    Vec y = sum[c];
    if (op.bias) y = add(y, load_some(op.bias->floats() + column, left));
    float* out = op.out + row * op.out_cols + column;
    store_some(out, value(column, y, out, left), left);
  }
}

struct Plain {
  void operator()(const host::Op& op, int64_t row, int64_t panel, const Vec (&sum)[2]) const {
    store_panel(op, row, panel, sum, [](int64_t, Vec y, const float*, int64_t) { return y; });
  }
};

struct Gelu {
  void operator()(const host::Op& op, int64_t row, int64_t panel, const Vec (&sum)[2]) const {
    store_panel(op, row, panel, sum, [](int64_t, Vec y, const float*, int64_t) { return gelu(y); });
  }
};

struct SwiGlu {
  void operator()(const host::Op& op, int64_t row, int64_t panel, const Vec (&sum)[2]) const {
    const int64_t column = panel * kLanes;
    store_some(op.out + row * op.out_cols + column, mul(silu(sum[0]), sum[1]), op.out_cols - column);
  }
};

struct Residual {
  float gate;  // of all columns; or 1, and the scale per column
  const float* scale;
  void operator()(const host::Op& op, int64_t row, int64_t panel, const Vec (&sum)[2]) const {
    store_panel(op, row, panel, sum, [&](int64_t column, Vec y, const float* out, int64_t left) {
      const Vec s = scale ? load_some(scale + column, left) : set(gate);
      return fma(s, y, load_some(out, left));
    });
  }
};

// ---- Row tails, threads ----

// Rows [row, row + R) by panels [panel, panel + P).
template <typename Format, int R, int P, typename Epilogue>
void tile(const host::Op& op, int64_t row, int64_t panel, const Epilogue& epilogue) {
  const float* x[R];
  for (int r = 0; r < R; ++r) x[r] = op.in + (row + r) * op.in_cols;
  Vec sum[P][R][2];
  const auto* w = static_cast<const typename Format::Stored*>(op.w->data) + panel * op.in_cols * kPanel;
  multiply<Format, R, P>(x, w, op.in_cols, sum);
  for (int p = 0; p < P; ++p) {
    for (int r = 0; r < R; ++r) epilogue(op, row + r, panel + p, sum[p][r]);
  }
}

template <typename Format, int R, int P, typename Epilogue>
void rows_by_panels(const host::Op& op, int64_t row, int64_t panel, int64_t end_panel, const Epilogue& epilogue) {
  for (; panel + P <= end_panel; panel += P) tile<Format, R, P>(op, row, panel, epilogue);
  for (; panel < end_panel; ++panel) tile<Format, R, 1>(op, row, panel, epilogue);
}

// What is left of a row block: 8 to 12 sums.
template <typename Format, typename Epilogue>
void tail(const host::Op& op, int64_t row, int64_t rows, int64_t panel, int64_t end_panel, const Epilogue& epilogue) {
  switch (rows) {
    case 1: return rows_by_panels<Format, 1, 4>(op, row, panel, end_panel, epilogue);
    case 2: return rows_by_panels<Format, 2, 2>(op, row, panel, end_panel, epilogue);
    case 3: return rows_by_panels<Format, 3, 2>(op, row, panel, end_panel, epilogue);
    case 4: return rows_by_panels<Format, 4, 1>(op, row, panel, end_panel, epilogue);
    case 5: return rows_by_panels<Format, 5, 1>(op, row, panel, end_panel, epilogue);
    default: return;
  }
}

template <typename Format, typename Epilogue>
void run_format(const host::Op& op, const Epilogue& epilogue) {
  const int64_t rows = op.in_rows, outputs_a_panel = op.w->interleaved ? kLanes : kPanel,
                panels = (op.out_cols + outputs_a_panel - 1) / outputs_a_panel;
  const int64_t row_blocks = (rows + kRowBlock - 1) / kRowBlock, groups = (panels + kPanelGroup - 1) / kPanelGroup;
  op.parallel(row_blocks * groups, [&](int64_t task, int) {
    const int64_t first = task / groups * kRowBlock, end = std::min(rows, first + kRowBlock);
    const int64_t first_panel = task % groups * kPanelGroup, end_panel = std::min(panels, first_panel + kPanelGroup);
    const int64_t whole = first + (end - first) / kRows * kRows;
    for (int64_t panel = first_panel; panel < end_panel; ++panel) {
      for (int64_t row = first; row < whole; row += kRows) tile<Format, kRows, 1>(op, row, panel, epilogue);
    }
    tail<Format>(op, whole, end - whole, first_panel, end_panel, epilogue);
  });
}

template <typename Epilogue>
void run(const host::Op& op, const Epilogue& epilogue) {
  switch (op.w->dtype) {
    case NVLM_F32: return run_format<F32>(op, epilogue);
    case NVLM_BF16: return run_format<Bf16>(op, epilogue);
    case NVLM_F16: return run_format<F16>(op, epilogue);
  }
}

}  // namespace

void multiply_row_block(const float* const* x, int rows, const nvlm_weight& w, int64_t panel, float* out) {
  const auto multiply_by = [&]<typename Format>(Format) {
    const auto* panel_weights = static_cast<const typename Format::Stored*>(w.data) + panel * w.cols * kPanel;
    const auto put = [&](int row, const Vec(&sum)[2]) {
      store(out + row * kPanel, sum[0]);
      store(out + row * kPanel + kLanes, sum[1]);
    };
    if (rows == kRows) {
      Vec sum[1][kRows][2];
      multiply<Format, kRows, 1>(x, panel_weights, w.cols, sum);
      for (int r = 0; r < kRows; ++r) put(r, sum[0][r]);
      return;
    }
    for (int r = 0; r < rows; ++r) {
      Vec sum[1][1][2];
      multiply<Format, 1, 1>(x + r, panel_weights, w.cols, sum);
      put(r, sum[0][0]);
    }
  };
  switch (w.dtype) {
    case NVLM_F32: return multiply_by(F32{});
    case NVLM_BF16: return multiply_by(Bf16{});
    case NVLM_F16: return multiply_by(F16{});
  }
}

void linear(const host::Op& op) { run(op, Plain{}); }
void linear_gelu(const host::Op& op) { run(op, Gelu{}); }
void linear_swiglu(const host::Op& op) { run(op, SwiGlu{}); }

void linear_residual(const host::Op& op) {
  if (op.c().tanh_gate) return run(op, Residual{std::tanh(op.scale->floats()[0]), nullptr});
  return run(op, Residual{1.0f, op.scale ? op.scale->floats() : nullptr});
}

}  // namespace nvlm::cpu::NVLM_CPU_SET
