// Products, and the copy that is the ceiling of what is bound by memory.
#include "op_cases.h"
#include "support/activations.h"

namespace nvlm::times {

namespace {

struct Dot {
  double sum, size;
};

}  // namespace

// ---- Products ----

Line product(const Machine& machine, const ProductShape& s) {
  const bool swiglu = s.op == NVLM_LINEAR_SWIGLU, logits = s.op == NVLM_LOGITS, residual = s.op == NVLM_LINEAR_RESIDUAL;
  const int64_t weight_rows = swiglu ? 2 * s.n : s.n;
  const uint64_t out_bytes = static_cast<uint64_t>(s.rows * s.n) * (logits ? 4 : 2);
  const double bytes =
      2.0 * static_cast<double>(s.rows * s.k + weight_rows * s.k) + static_cast<double>(out_bytes) * (residual ? 2 : 1);
  const int buffers = buffers_for(machine, bytes);
  const Pattern a(1, static_cast<float>(3 / std::sqrt(static_cast<double>(s.k)))), w(2, 1), before(6, 1);
  std::vector<std::unique_ptr<Memory>> in, weight, out;
  for (int i = 0; i < buffers; ++i) {
    in.push_back(a.on_device(machine, s.rows * s.k));
    weight.push_back(w.on_device(machine, weight_rows * s.k));
    out.push_back(residual ? before.on_device(machine, s.rows * s.n) : std::make_unique<Memory>(machine, out_bytes));
    if (!residual) out.back()->fill_with(0xff);
  }
  const Scratch scratch(machine, gemm_workspace(machine.info, s.rows, weight_rows, s.k));
  nvlm_record record{};
  record.op = s.op;
  std::vector<DeviceWeight> weights;
  for (int i = 0; i < buffers; ++i)
    weights.push_back({NVLM_MATRIX, swiglu, weight_rows, s.k, s.k, weight[static_cast<size_t>(i)]->as<void>()});
  const auto enqueue = [&](int i) {
    const auto at = static_cast<size_t>(i);
    Op op = op_of(machine, record);
    reads(&op, *in[at], s.rows, s.k);
    writes(&op, *out[at], s.rows, s.n);
    op.w = &weights[at];
    op.workspace = &scratch.workspace;
    expect(s.rows <= 4 ? enqueue_gemv(op) : enqueue_gemm(op), s.name);
  };

  enqueue(0);
  Difference difference;
  const auto dot = [&](int64_t row, int64_t column) {
    Dot d{0, 0};
    for (int64_t i = 0; i < s.k; ++i) {
      const double term = a.at(row * s.k + i) * w.at(column * s.k + i);
      d.sum += term;
      d.size += term * term;
    }
    d.size = std::sqrt(d.size);
    return d;
  };
  for (int64_t i = 0; i < 64; ++i) {
    const int64_t row = sampled(i, s.rows), column = sampled(3 * i + 1, s.n);
    const auto at = static_cast<uint64_t>(row * s.n + column);
    const double got = logits ? out[0]->read<float>(at, 1)[0] : to_float(out[0]->read<bf16>(at, 1)[0]);
    if (swiglu) {
      const Dot gate = dot(row, 2 * column), up = dot(row, 2 * column + 1);
      const double silu = test::silu(gate.sum), value = silu * up.sum;
      difference.add(
          got, value,
          kHalfUlp * std::abs(value) + kSums * (1.1 * gate.size * std::abs(up.sum) + up.size * std::abs(silu) + 1e-3),
          row, column);
    } else {
      const Dot d = dot(row, column);
      const double value = s.op == NVLM_LINEAR_GELU ? test::gelu(d.sum)
                           : residual               ? before.at(row * s.n + column) + d.sum
                                                    : d.sum;
      difference.add(got, value, (logits ? 0 : kHalfUlp) * std::abs(value) + kSums * 1.2 * d.size, row, column);
    }
  }
  difference.expect_none();
  const Times times = timed(machine, buffers, enqueue);
  return {
      s.name, s.op, s.rows <= 16 ? "memory" : "product", times, 2.0 * static_cast<double>(s.rows * weight_rows * s.k),
      bytes};
}

// ---- Copies: the ceiling of what is bound by memory ----

Line device_copy(const Machine& machine) {
  const uint64_t bytes = machine.tiny ? uint64_t{1} << 16 : uint64_t{1} << 30;
  const Memory from(machine, bytes), to(machine, bytes);
  from.fill_with(1);
  const Times times = timed(machine, 1, [&](int) {
    expect(copy_on_device(to.as<void>(), from.as<void>(), bytes, machine.stream), "copying");
  });
  return {"device copy", kNoOp, "memory", times, 0, 2.0 * static_cast<double>(bytes)};
}

}  // namespace nvlm::times
