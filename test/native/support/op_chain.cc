#include "support/op_chain.h"

#include <algorithm>
#include <stdexcept>

#include "support/activations.h"

namespace nvlm::test {
namespace {

// Errors of sums in float32: the reference's and the device's.
constexpr double kSum = 2 * kUnit;

double squared(double x) { return x * x; }

struct Value {
  double value = 0, limit = 0, variance = 0;
  double most() const { return std::abs(value) + limit; }
  double allowed() const { return std::min(limit, 8 * std::sqrt(variance)); }
};

Value operator*(const Value& x, double factor) {
  return {x.value * factor, x.limit * std::abs(factor), x.variance * squared(factor)};
}
Value operator+(const Value& x, const Value& y) {
  return {x.value + y.value, x.limit + y.limit, x.variance + y.variance};
}

// An error of the op itself: at most `limit`, typically `deviation`.
Value off_by(const Value& x, double limit, double deviation) {
  return {x.value, x.limit + limit, x.variance + squared(deviation)};
}

using Values = std::vector<Value>;

Values exact(const std::vector<float>& data, size_t count) {
  Values values(count);
  for (size_t i = 0; i < data.size(); ++i) values[i].value = data[i];
  return values;
}

// One head of one query row, and what it sees.
struct HeadBounds {
  const Value* query;
  std::vector<const Value*> keys, values;
};

class Chain {
 public:
  explicit Chain(const OpCase& c) : c_(c), self_(cache(c.self_kv)), cross_(cache(c.cross_kv)) {
    for (const Tensor& t : c.tensors) tensors_.push_back(exact(t.data, static_cast<size_t>(c.rows(t) * t.cols)));
  }

  Bounds bounds() {
    for (const nvlm_record& r : c_.records()) run(r);
    Bounds b;
    b.rms = 1;
    for (const Value& v : out(c_.record)) b.limit.push_back(v.allowed()), b.size.push_back(std::sqrt(v.variance));
    for (const Value& v : self_) b.self_limit.push_back(v.allowed());
    return b;
  }

 private:
  static Values cache(const Cache& kv) { return exact(kv.data, kv.elements()); }

  Values& in(const nvlm_record& r) { return tensors_[static_cast<size_t>(r.in)]; }
  Values& out(const nvlm_record& r) { return tensors_[static_cast<size_t>(r.out)]; }
  size_t cols(int32_t tensor) const { return static_cast<size_t>(c_.tensors[static_cast<size_t>(tensor)].cols); }
  const float* weight(int32_t w) const { return w < 0 ? nullptr : c_.weights[static_cast<size_t>(w)].values.data(); }
  // What a device keeps of it.
  Value written(const Value& x) const { return off_by(x, c_.rounding * x.most(), c_.rounding * std::abs(x.value)); }

  void run(const nvlm_record& r) {
    switch (r.op) {
      case NVLM_RMS_NORM:
      case NVLM_LAYER_NORM: return norm(r);
      case NVLM_LINEAR:
      case NVLM_LINEAR_GELU:
      case NVLM_LINEAR_SWIGLU:
      case NVLM_LINEAR_RESIDUAL:
      case NVLM_LOGITS: return linear(r);
      case NVLM_ROPE_KV_WRITE: return rope_kv_write(r);
      case NVLM_ATTENTION: return attention(r);
      default: throw std::runtime_error("no limits are known for this op in a chain");
    }
  }

  // y = d·w/s + b with d = x − mean (rms: mean 0) and s = √(Σd²/n + eps). Taking the mean off is a projection and s a
  // norm, so that errors e move s by at most ‖e‖/√n, and its variance is that of Σ d·e/(n·s).
  void norm(const nvlm_record& r) {
    const bool layer = r.op == NVLM_LAYER_NORM;
    const size_t n = cols(r.in);
    const double width = static_cast<double>(n), divisor = r.c.true_width ? r.c.true_width : width;
    const float *w = weight(r.w), *bias = layer ? weight(r.bias) : nullptr;
    for (size_t row = 0; row < in(r).size(); row += n) {
      const Value* x = &in(r)[row];
      Value mean;
      double size = 0, squares = 0, limits = 0, along = 0;
      for (size_t i = 0; layer && i < n; ++i) mean = mean + x[i] * (1 / width), size += std::abs(x[i].value) / width;
      for (size_t i = 0; i < n; ++i)
        squares += squared(x[i].value - mean.value), limits += squared(x[i].limit),
            along += squared(x[i].value - mean.value) * x[i].variance;
      const double s = std::sqrt(squares / divisor + r.c.eps), move = std::sqrt(limits / divisor),
                   variance = along / squared(divisor * s);
      for (size_t i = 0; i < n; ++i) {
        const Value d = x[i] + mean * -1;
        const double factor = w[i],
                     element = layer ? (std::abs(d.value) + size) / s * std::abs(factor) + std::abs(bias[i])
                                     : std::abs(d.value / s * factor);
        Value y{d.value / s * factor + (layer ? bias[i] : 0),
                std::abs(factor) * (d.limit + std::abs(d.value) * move / s) / (s - move),
                squared(factor / s) * (d.variance + squared(d.value / s) * variance)};
        // As in cases/norm.cc. The mean's own error enters s to second order.
        const double second = layer ? squared(width * kSum * size / s) : 0;
        y = off_by(y, ((layer ? width : width / 2) + 8) * kSum * (element + y.limit) + second * element,
                   (4 + std::sqrt(width) / 2) * kSum * element);
        out(r)[row + i] = written(y);
      }
    }
  }

  // Σ x·w + b of one row of the weight, and the size of what is summed.
  struct Sum {
    Value value;
    double size = 0;
  };
  Sum sum(const nvlm_record& r, const Value* x, size_t weight_row) const {
    const size_t k = cols(r.in);
    const float* w = weight(r.w) + weight_row * k;
    Sum s;
    for (size_t i = 0; i < k; ++i) s.value = s.value + x[i] * w[i], s.size += x[i].most() * std::abs(w[i]);
    if (const float* bias = weight(r.bias)) s.value.value += bias[weight_row], s.size += std::abs(bias[weight_row]);
    s.value = off_by(s.value, (static_cast<double>(k) + 3) * kSum * s.size, 4 * kSum * s.size);
    return s;
  }

  // As in cases/linear.cc; slopes of GELU at most 1.13, of SiLU 1.1.
  void linear(const nvlm_record& r) {
    const size_t k = cols(r.in), n = cols(r.out);
    for (size_t i = 0; i < out(r).size(); ++i) {
      const Value* x = &in(r)[i / n * k];
      const size_t column = i % n;
      Value& y = out(r)[i];
      if (r.op == NVLM_LINEAR_SWIGLU) {
        const Value gate = sum(r, x, 2 * column).value, up = sum(r, x, 2 * column + 1).value;
        const double silu = test::silu(gate.value);
        const Value product{
            silu * up.value, 1.1 * gate.limit * up.most() + std::abs(silu) * up.limit,
            squared(1.1) * gate.variance * (squared(up.value) + up.variance) + squared(silu) * up.variance};
        y = written(off_by(product, (2e-7 + 4 * kSum) * product.most(), (2e-7 + 4 * kSum) * std::abs(product.value)));
        continue;
      }
      const Sum s = sum(r, x, column);
      if (r.op == NVLM_LINEAR_GELU) {
        const double gelu = test::gelu(s.value.value);
        y = written(off_by({gelu, 1.13 * s.value.limit, squared(1.13) * s.value.variance}, 2e-6, 2e-6));
      } else if (r.op == NVLM_LINEAR_RESIDUAL) {
        double factor = 1;
        if (const float* scale = weight(r.scale))
          factor = r.c.tanh_gate ? std::tanh(static_cast<double>(scale[0])) : scale[column];
        const Value all = y + s.value * factor;
        y = written(off_by(all, kSum * (3 * std::abs(factor) * s.size + 2 * (y.most() + all.most())),
                           kSum * (std::abs(factor) * s.size + y.most())));
      } else if (r.op == NVLM_LOGITS) {
        y = s.value;  // float32 on every device
      } else {
        y = written(s.value);
      }
    }
  }

  // Three roundings of at most |a| + |b|, and sine and cosine to 2^-22 (cuda/kernels/rotation.cuh).
  void rope_kv_write(const nvlm_record& r) {
    const int32_t heads = r.c.heads + 2 * r.c.kv_heads, d = r.c.head_dim, half = d / 2;
    for (int64_t row = 0; row < c_.batch.rows; ++row) {
      for (int32_t head = 0; head < heads; ++head) {
        Value* x = &out(r)[static_cast<size_t>((row * heads + head) * d)];
        for (int32_t i = 0; head < r.c.heads + r.c.kv_heads && i < half; ++i) {
          const double frequency = std::pow(static_cast<double>(r.c.rope_theta), -2.0 * i / d);
          const auto angle =
              static_cast<double>(static_cast<float>(c_.batch.position[static_cast<size_t>(row)] * frequency));
          const Value a = x[i], b = x[i + half];
          const double most = (3 * kSum + 2 * 0x1p-22) * (a.most() + b.most());
          x[i] = written(off_by(a * std::cos(angle) + b * -std::sin(angle), most, most));
          x[i + half] = written(off_by(b * std::cos(angle) + a * std::sin(angle), most, most));
        }
        if (head < r.c.heads) continue;
        const bool value = head >= r.c.heads + r.c.kv_heads;
        const int64_t slot = c_.batch.kv_slot[static_cast<size_t>(row)];
        const int32_t kv_head = head - r.c.heads - (value ? r.c.kv_heads : 0);
        std::copy_n(x, d,
                    &self_[value ? c_.self_kv.value_at(r.c.layer, slot, kv_head)
                                 : c_.self_kv.key_at(r.c.layer, slot, kv_head)]);
      }
    }
  }

  void attention(const nvlm_record& r) {
    if (r.c.source == NVLM_KEYS_TILE)
      throw std::runtime_error("no limits are known for attention over tiles in a chain");
    const bool self = r.c.source == NVLM_KEYS_SELF;
    const Cache& kv = self ? c_.self_kv : c_.cross_kv;
    const Values& cached = self ? self_ : cross_;
    const PageList& pages = self ? c_.batch.self_pages : c_.batch.cross_pages;
    const std::vector<int32_t>&begin = self ? c_.batch.self_begin : c_.batch.cross_begin,
          &end = self ? c_.batch.self_end : c_.batch.cross_end;
    const int32_t d = r.c.head_dim;
    for (size_t s = 0; s + 1 < c_.batch.row_begin.size(); ++s) {
      for (int32_t row = c_.batch.row_begin[s]; row < c_.batch.row_begin[s + 1]; ++row) {
        for (int32_t h = 0; h < r.c.heads; ++h) {
          HeadBounds head{&in(r)[static_cast<size_t>(row) * cols(r.in) + static_cast<size_t>(h * d)], {}, {}};
          int32_t key = 0;
          for (auto p = static_cast<size_t>(pages.begin[s]); p < static_cast<size_t>(pages.begin[s + 1]); ++p) {
            for (int32_t i = 0; i < pages.fill[p]; ++i, ++key) {
              if (key < begin[static_cast<size_t>(row)] || key >= end[static_cast<size_t>(row)]) continue;
              const int64_t slot = int64_t{pages.page[p]} * NVLM_PAGE_KEYS + i;
              const int32_t kv_head = h / (r.c.heads / r.c.kv_heads);
              head.keys.push_back(&cached[kv.key_at(r.c.layer, slot, kv_head)]);
              head.values.push_back(&cached[kv.value_at(r.c.layer, slot, kv_head)]);
            }
          }
          attend(head, d, &out(r)[static_cast<size_t>((int64_t{row} * r.c.heads + h) * d)]);
        }
      }
    }
  }

  // o = Σ p·v, p = softmax of q·k/√d. A score that is off by δ moves its p by a factor of e^(2δ) at most; to first
  // order o moves by Σ p·(v − o)·δ, and of δ the query's part is the same for all keys. A device may round p before it
  // multiplies.
  void attend(const HeadBounds& head, int32_t d, Value* o) const {
    const size_t m = head.keys.size();
    std::vector<double> p(m), of_key(m, 0);  // of_key: variance of a score by its key's errors
    double most = -INFINITY, total = 0, delta = 0;
    for (size_t k = 0; k < m; ++k) {
      double limit = 0, size = 0;
      for (int32_t i = 0; i < d; ++i) {
        const Value &q = head.query[i], &x = head.keys[k][i];
        p[k] += q.value * x.value / std::sqrt(d);
        limit += q.limit * std::abs(x.value) + q.most() * x.limit;
        size += q.most() * x.most();
        of_key[k] += squared(q.value) * x.variance / d;
      }
      delta = std::max(delta, (limit + (d + 4) * kSum * size) / std::sqrt(d));
      most = std::max(most, p[k]);
    }
    for (double& x : p) total += x = std::exp(x - most);
    for (double& x : p) x /= total;
    const double spread = std::exp(2 * delta);
    for (int32_t j = 0; j < d; ++j) {
      Value y;
      double size = 0;
      for (size_t k = 0; k < m; ++k) y = y + head.values[k][j] * p[k], size += p[k] * head.values[k][j].most();
      y.limit = spread * y.limit + (spread - 1) * size;
      for (size_t k = 0; k < m; ++k) y.variance += squared(p[k] * (head.values[k][j].value - y.value)) * of_key[k];
      for (int32_t i = 0; i < d; ++i) {
        double slope = 0;
        for (size_t k = 0; k < m; ++k)
          slope += p[k] * (head.values[k][j].value - y.value) * head.keys[k][i].value / std::sqrt(d);
        y.variance += squared(slope) * head.query[i].variance;
      }
      const double own = (2 * (static_cast<double>(m) + 8) * kSum + 2 * 4e-7 + c_.rounding) * spread * size;
      o[j] = written(off_by(y, own, ((16 + std::sqrt(static_cast<double>(d))) * kSum + c_.rounding) * size));
    }
  }

  const OpCase& c_;
  Values self_, cross_;
  std::vector<Values> tensors_;
};

}  // namespace

Bounds chain_bounds(const OpCase& c) { return Chain(c).bounds(); }

}  // namespace nvlm::test
