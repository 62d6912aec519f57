// Chains of records as the model's programs have them: what the CUDA plan makes one launch of, and whole decoder
// layers. What could break: a launch that reads or writes for several records (norm, product, rotation, pages), records
// that look as if they could be fused and must not be, what one launch leaves for the next, and the number of launches
// that docs/cuda.md promises. Limits: support/op_chain.h.
#include <algorithm>
#include <limits>

#include "cases/cases.h"
#include "ops/op_info.h"

namespace nvlm::test {
namespace {

struct Heads {
  int32_t q, kv, d;
  int64_t width() const { return int64_t{q} * d; }
  int64_t all() const { return int64_t{q + 2 * kv} * d; }
};
std::string words(const Heads& h) {
  return std::to_string(h.q) + "/" + std::to_string(h.kv) + " heads of " + std::to_string(h.d);
}

// Keys that a sequence has in the end, `rows` of them its rows' own, and keys of images.
struct FusedSequence {
  int32_t keys, rows, image_keys;
};

// Records one behind the other; each function adds an op with random weights and answers its output.
class FusedOps {
 public:
  FusedOps(const std::string& name, int64_t rows, nvlm_extent extent = NVLM_ROWS) : random_(name), extent_(extent) {
    c_.name = "fused " + name;
    (extent == NVLM_OUTS ? c_.batch.outs : c_.batch.rows) = rows;
  }

  int32_t input(int64_t cols) { return c_.add(Tensor{extent_, 1, cols, random_.uniforms(rows() * cols)}); }

  // Weights of a norm are small, so that products of some hundred columns are about 1: scores of attention that size
  // leave several keys with weight.
  int32_t norm(nvlm_op op, int32_t in) {
    nvlm_record r = record(op, in, cols(in));
    r.w = c_.add(vector_weight(random_.uniforms(cols(in), 0.03f, 0.12f)));
    if (op == NVLM_LAYER_NORM) r.bias = c_.add(vector_weight(random_.uniforms(cols(in), -0.1f, 0.1f)));
    r.c.eps = 1e-6f;
    return push(r);
  }

  int32_t linear(nvlm_op op, int32_t in, int64_t n, bool bias = false) {
    nvlm_record r = record(op, in, n);
    const bool pairs = op == NVLM_LINEAR_SWIGLU;
    r.w = c_.add(matrix_weight(random_, NVLM_MATRIX, pairs ? std::vector<int64_t>{n, n} : std::vector<int64_t>{n},
                               cols(in), NVLM_BF16, pairs));
    if (bias) r.bias = c_.add(vector_weight(random_.uniforms(n)));
    return push(r);
  }

  void residual(int32_t in, int32_t x, bool gate = false) {
    nvlm_record r = record(NVLM_LINEAR_RESIDUAL, in, 0);
    r.out = x;
    r.w = c_.add(matrix_weight(random_, NVLM_MATRIX, {cols(x)}, cols(in), NVLM_BF16));
    if (gate) r.scale = c_.add(vector_weight({0.7f})), r.c.tanh_gate = 1;
    push(r);
  }

  void rope_kv_write(int32_t qkv, const Heads& heads) {
    nvlm_record r = record(NVLM_ROPE_KV_WRITE, -1, 0);
    r.out = qkv;
    set(r.c, heads);
    r.c.rope_theta = 1e6f;
    push(r);
  }

  int32_t attention(int32_t in, nvlm_key_source source, const Heads& heads) {
    nvlm_record r = record(NVLM_ATTENTION, in, heads.width());
    set(r.c, heads);
    r.c.source = source;
    return push(r);
  }

  // Pages for the sequences' keys, those before their rows random; page 0 belongs to nobody, and places without a key
  // are NaN. A row sees all keys up to its own, and all of its sequence's images.
  void pages(const std::vector<FusedSequence>& sequences, const Heads& heads) {
    Batch& b = c_.batch;
    int32_t self_pages = 1, cross_pages = 1;
    for (const FusedSequence& s : sequences) self_pages += pages_of(s.keys), cross_pages += pages_of(s.image_keys);
    open(c_.self_kv, self_pages, heads);
    open(c_.cross_kv, cross_pages, heads);
    b.row_begin = {0};
    for (const FusedSequence& s : sequences) {
      const int32_t first = s.keys - s.rows;
      deal(c_.self_kv, b.self_pages, self_pages, s.keys, first);
      deal(c_.cross_kv, b.cross_pages, cross_pages, s.image_keys, s.image_keys);
      for (int32_t key = first; key < s.keys; ++key) {
        const int32_t page =
            b.self_pages.page[static_cast<size_t>(b.self_pages.begin[b.row_begin.size() - 1] + key / NVLM_PAGE_KEYS)];
        b.kv_slot.push_back(int64_t{page} * NVLM_PAGE_KEYS + key % NVLM_PAGE_KEYS);
        b.position.push_back(key);
        b.self_begin.push_back(0), b.self_end.push_back(key + 1);
        b.cross_begin.push_back(0), b.cross_end.push_back(s.image_keys);
      }
      b.row_begin.push_back(static_cast<int32_t>(b.kv_slot.size()));
    }
  }

  OpCase done(int launches) {
    c_.record = c_.before.back();
    c_.before.pop_back();
    c_.launches = launches;
    return std::move(c_);
  }

 private:
  static constexpr int32_t kLayer = 1;
  static int32_t pages_of(int32_t keys) { return static_cast<int32_t>(nvlm_pages_for(keys)); }
  int64_t rows() const { return extent_ == NVLM_OUTS ? c_.batch.outs : c_.batch.rows; }
  int64_t cols(int32_t tensor) const { return c_.tensors[static_cast<size_t>(tensor)].cols; }
  static void set(nvlm_constants& c, const Heads& heads) {
    c.heads = heads.q, c.kv_heads = heads.kv, c.head_dim = heads.d, c.layer = kLayer;
  }

  // With an output of n columns, unless n is 0.
  nvlm_record record(nvlm_op op, int32_t in, int64_t n) {
    nvlm_record r = nvlm_empty_record(op);
    r.in = in;
    if (n > 0) r.out = c_.add(Tensor{extent_, 1, n, {}});
    return r;
  }
  int32_t push(const nvlm_record& r) {
    c_.before.push_back(r);
    return r.out;
  }

  static void open(Cache& kv, int32_t pages, const Heads& heads) {
    kv = {kLayer + 1, pages, heads.kv, heads.d, {}};
    kv.data.assign(kv.elements(), std::numeric_limits<float>::quiet_NaN());
  }
  // The next `keys` places, from page `next` - 1 downwards; the first `known` get values.
  void deal(Cache& kv, PageList& list, int32_t& next, int32_t keys, int32_t known) {
    for (int32_t from = 0; from < keys; from += NVLM_PAGE_KEYS) {
      list.page.push_back(--next);
      list.fill.push_back(std::min(keys - from, NVLM_PAGE_KEYS));
      const int32_t values = std::clamp(known - from, 0, NVLM_PAGE_KEYS) * kv.head_dim;
      for (int32_t h = 0; h < kv.kv_heads; ++h) {
        const int64_t slot = int64_t{next} * NVLM_PAGE_KEYS;
        float *k = &kv.data[kv.key_at(kLayer, slot, h)], *v = &kv.data[kv.value_at(kLayer, slot, h)];
        for (int32_t i = 0; i < values; ++i) k[i] = random_.uniform(-1, 1), v[i] = random_.uniform(-1, 1);
      }
    }
    list.begin.push_back(static_cast<int32_t>(list.page.size()));
  }

  OpCase c_;
  Random random_;
  nvlm_extent extent_;
};

// One launch up to 4 rows, two above.
OpCase norm_linear(nvlm_op norm, nvlm_op op, int64_t rows, int64_t n, int64_t k, int launches) {
  FusedOps chain(std::string(op_name(norm)) + ", " + op_name(op) + " " + std::to_string(rows) + "x" +
                     std::to_string(n) + "x" + std::to_string(k),
                 rows, op == NVLM_LOGITS ? NVLM_OUTS : NVLM_ROWS);
  chain.linear(op, chain.norm(norm, chain.input(k)), n, op != NVLM_LOGITS);
  return chain.done(launches);
}

// The norm's output is read twice: it must be there, so nothing is fused.
OpCase norm_read_twice(int64_t rows) {
  FusedOps chain("rms_norm, read twice, " + std::to_string(rows) + " rows", rows);
  const int32_t h = chain.norm(NVLM_RMS_NORM, chain.input(64));
  const int32_t y = chain.linear(NVLM_LINEAR, h, 24);
  chain.residual(h, y);
  return chain.done(3);
}

// x += down(silu(gate(h)) · up(h)), h the norm of x.
void feed_forward(FusedOps& chain, int32_t x, int64_t mlp) {
  chain.residual(chain.linear(NVLM_LINEAR_SWIGLU, chain.norm(NVLM_RMS_NORM, x), mlp), x);
}

void self_attention(FusedOps& chain, int32_t x, const Heads& heads) {
  const int32_t qkv = chain.linear(NVLM_LINEAR, chain.norm(NVLM_RMS_NORM, x), heads.all(), true);
  chain.rope_kv_write(qkv, heads);
  chain.residual(chain.attention(qkv, NVLM_KEYS_SELF, heads), x);
}

void cross_attention(FusedOps& chain, int32_t x, const Heads& heads) {
  const int32_t q = chain.linear(NVLM_LINEAR, chain.norm(NVLM_RMS_NORM, x), heads.width());
  chain.residual(chain.attention(q, NVLM_KEYS_CROSS, heads), x, true);
}

OpCase feed_forward_case(int64_t rows, int64_t hidden, int64_t mlp, int launches) {
  FusedOps chain("feed forward " + std::to_string(rows) + "x" + std::to_string(hidden) + "x" + std::to_string(mlp),
                 rows);
  feed_forward(chain, chain.input(hidden), mlp);
  return chain.done(launches);
}

int64_t rows_of(const std::vector<FusedSequence>& sequences) {
  int64_t rows = 0;
  for (const FusedSequence& s : sequences) rows += s.rows;
  return rows;
}

std::string words(const std::vector<FusedSequence>& sequences, const Heads& heads) {
  std::string text = words(heads) + ", keys/rows";
  for (const FusedSequence& s : sequences) text += " " + std::to_string(s.keys) + "/" + std::to_string(s.rows);
  return text;
}

OpCase qkv_case(nvlm_op norm, const std::vector<FusedSequence>& sequences, int64_t hidden, const Heads& heads,
                bool bias, int launches) {
  FusedOps chain(
      std::string(op_name(norm)) + ", q k v" + (bias ? " + bias" : "") + ", rope_kv_write: " + words(sequences, heads),
      rows_of(sequences));
  chain.pages(sequences, heads);
  chain.rope_kv_write(chain.linear(NVLM_LINEAR, chain.norm(norm, chain.input(hidden)), heads.all(), bias), heads);
  return chain.done(launches);
}

OpCase attention_residual_case(const std::vector<FusedSequence>& sequences, const Heads& heads) {
  FusedOps chain("rope_kv_write, attention, o + residual: " + words(sequences, heads), rows_of(sequences));
  const int32_t x = chain.input(heads.width()), qkv = chain.input(heads.all());
  chain.pages(sequences, heads);
  chain.rope_kv_write(qkv, heads);
  chain.residual(chain.attention(qkv, NVLM_KEYS_SELF, heads), x);
  return chain.done(3);
}

OpCase cross_case(const std::vector<FusedSequence>& sequences, int64_t hidden, const Heads& heads, int launches) {
  FusedOps chain("cross layer: " + words(sequences, heads), rows_of(sequences));
  chain.pages(sequences, heads);
  cross_attention(chain, chain.input(hidden), heads);
  return chain.done(launches);
}

// A decoder layer. Up to 4 rows: five launches, and three more for cross-attention (docs/cuda.md); else one a record.
OpCase layer_case(const std::vector<FusedSequence>& sequences, int64_t hidden, const Heads& heads, int64_t mlp,
                  bool cross) {
  const int64_t rows = rows_of(sequences);
  FusedOps chain(
      std::string(cross ? "decoder layer with cross-attention: " : "decoder layer: ") + words(sequences, heads), rows);
  chain.pages(sequences, heads);
  const int32_t x = chain.input(hidden);
  self_attention(chain, x, heads);
  if (cross) cross_attention(chain, x, heads);
  feed_forward(chain, x, mlp);
  return chain.done(rows <= 4 ? 5 + (cross ? 3 : 0) : 8 + (cross ? 4 : 0));
}

// So many sequences of one row each, of different lengths; every third sees no image.
std::vector<FusedSequence> decoding(int rows) {
  constexpr int32_t kKeys[] = {70, 1, 64, 129, 65, 33};
  std::vector<FusedSequence> all;
  for (int i = 0; i < rows; ++i) all.push_back({kKeys[i % 6], 1, i % 3 == 2 ? 0 : 40 + 30 * (i % 2)});
  return all;
}

}  // namespace

OpCase decoder_layer_case(int rows, bool cross) { return layer_case(decoding(rows), 128, {4, 2, 64}, 128, cross); }

std::vector<OpCase> fused_cases() {
  std::vector<OpCase> cases;
  for (const int64_t rows : {1, 2, 3, 4, 5}) {
    const int launches = rows <= 4 ? 1 : 2;
    cases.push_back(norm_linear(NVLM_RMS_NORM, NVLM_LINEAR, rows, 40, 264, launches));
    cases.push_back(norm_linear(NVLM_LAYER_NORM, NVLM_LINEAR, rows, 24, 136, launches));
    cases.push_back(norm_linear(NVLM_LAYER_NORM, NVLM_LINEAR_GELU, rows, 24, 72, launches));
    cases.push_back(norm_linear(NVLM_RMS_NORM, NVLM_LOGITS, rows, 35, 64, launches));
    cases.push_back(feed_forward_case(rows, 104, 40, launches + 1));
    cases.push_back(qkv_case(NVLM_RMS_NORM, decoding(static_cast<int>(rows)), 72, {3, 1, 16}, true, rows <= 4 ? 1 : 3));
  }
  for (const int32_t d : {8, 24, 64, 128})
    cases.push_back(qkv_case(NVLM_LAYER_NORM, decoding(2), 40, {2, 2, d}, false, 1));
  cases.push_back(qkv_case(NVLM_RMS_NORM, {{66, 4, 0}}, 40, {4, 2, 40}, true, 1));  // rows of one sequence
  cases.push_back(qkv_case(NVLM_RMS_NORM, decoding(2), 40, {2, 1, 136}, true,
                           2));  // more pairs a head than the launch takes: the rotation by itself
  cases.push_back(norm_linear(NVLM_RMS_NORM, NVLM_LINEAR, 4, 8, 8200, 2));  // more columns than shared memory holds
  for (const int64_t rows : {2, 7}) cases.push_back(norm_read_twice(rows));
  const Heads fast{4, 2, 64}, other{3, 1, 24};
  for (const Heads& heads : {fast, other}) {
    cases.push_back(attention_residual_case(decoding(3), heads));
    cases.push_back(cross_case(decoding(3), 64, heads, 3));
    cases.push_back(cross_case({{9, 9, 70}, {5, 2, 0}}, 64, heads, 4));
  }
  for (const bool cross : {false, true}) {
    for (const int rows : {1, 2, 3, 4, 5, 16})
      cases.push_back(layer_case(decoding(rows), 96, rows % 2 ? fast : other, 56, cross));
    cases.push_back(layer_case({{67, 3, 30}}, 96, fast, 56, cross));  // a few rows of a prompt
    cases.push_back(
        layer_case({{90, 21, 30}, {65, 1, 0}, {8, 8, 70}}, 96, fast, 56, cross));  // prompts beside a row of an answer
  }
  return cases;
}

}  // namespace nvlm::test
