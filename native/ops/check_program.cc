#include "ops/check_program.h"

#include <algorithm>

#include "ops/op_info.h"
#include "ops/packed_weight.h"

namespace nvlm {
namespace {

// ---- Programs ----

class ProgramCheck {
 public:
  explicit ProgramCheck(const nvlm_program& p) : p_(p) {}

  std::string run() {
    for (int32_t t = 0; t < p_.tensor_count && wrong_.empty(); ++t) check_tensor(t);
    for (index_ = 0; index_ < p_.record_count && wrong_.empty(); ++index_) check_record(p_.records[index_]);
    return wrong_;
  }

 private:
  void require(bool holds, const char* what) {
    if (!holds && wrong_.empty())
      wrong_ = "record " + std::to_string(index_) + " of program '" + p_.name + "': " + what;
  }

  void check_tensor(int32_t t) {
    const nvlm_tensor& tensor = p_.tensors[t];
    index_ = t;
    if (static_cast<uint32_t>(tensor.extent) >= NVLM_EXTENT_COUNT || tensor.rows_each < 1 || tensor.cols < 1)
      return require(false, "a tensor has an impossible shape");
    const auto wide = static_cast<double>(tensor.rows_each) * static_cast<double>(p_.max_count[tensor.extent]) *
                      static_cast<double>(tensor.cols) * static_cast<double>(nvlm_dtype_bytes(tensor.dtype));
    require(wide + static_cast<double>(tensor.offset) <= static_cast<double>(p_.arena_bytes),
            "a tensor lies outside of the arena");
    require(tensor.offset % nvlm_dtype_bytes(tensor.dtype) == 0, "a tensor is not aligned");
  }

  const nvlm_tensor* tensor(int32_t t, const char* what) {
    require(t >= 0 && t < p_.tensor_count, what);
    return wrong_.empty() ? &p_.tensors[t] : nullptr;
  }

  // A weight of this shape (rows per part pair for interleaved ones); -1 passes only where it is optional.
  void weight(int32_t w, nvlm_weight_use use, int64_t rows, int64_t cols, const char* what, bool optional = false) {
    if (w < 0 && optional) return;
    require(w >= 0 && w < p_.weight_count && p_.weights[w], what);
    if (!wrong_.empty()) return;
    const nvlm_weight& x = *p_.weights[w];
    require(x.use == use && (x.interleaved ? x.rows / 2 : x.rows) == rows && x.cols == cols, what);
    require(!x.interleaved || p_.records[index_].op == NVLM_LINEAR_SWIGLU,
            "gate and up must be interleaved, and nothing else");
  }
  void vector(int32_t w, int64_t length, const char* what, bool optional = false) {
    weight(w, NVLM_VECTOR, 1, length, what, optional);
  }

  void cache(const nvlm_kv_cache& kv, const nvlm_constants& c) {
    require(kv.memory && kv.pages > 0 && kv.kv_heads == c.kv_heads && kv.head_dim == c.head_dim,
            "the key/value cache does not fit the op");
    require(c.layer >= 0 && c.layer < kv.layers, "there is no such layer in the key/value cache");
  }

  void heads(const nvlm_constants& c, bool queries) {
    require(c.head_dim > 0 && c.head_dim % 8 == 0 && c.head_dim <= 4096 && c.kv_heads > 0 && c.kv_heads <= 65536,
            "head_dim must be a multiple of 8");
    if (queries && wrong_.empty())
      require(c.heads > 0 && c.heads <= 65536 && c.heads % c.kv_heads == 0, "heads must be a multiple of kv_heads");
  }

  void same_rows(const nvlm_tensor& a, const nvlm_tensor& b) {
    require(a.extent == b.extent && a.rows_each == b.rows_each, "input and output differ in rows");
  }

  void check_linear(const nvlm_record& r, const nvlm_tensor& in, const nvlm_tensor& out) {
    same_rows(in, out);
    require(r.in != r.out, "input and output must differ");
    weight(r.w, NVLM_MATRIX, out.cols, in.cols, "the matrix does not fit");
    if (!wrong_.empty()) return;
    require(p_.weights[r.w]->interleaved || r.op != NVLM_LINEAR_SWIGLU,
            "gate and up must be interleaved, and nothing else");
    require(r.op != NVLM_LINEAR_SWIGLU || r.bias < 0, "SwiGLU takes no bias");
    vector(r.bias, out.cols, "the bias does not fit", true);
    if (r.op == NVLM_LINEAR_RESIDUAL)
      vector(r.scale, r.c.tanh_gate ? 1 : out.cols, "the scale does not fit", !r.c.tanh_gate);
  }

  void check_attention(const nvlm_record& r, const nvlm_tensor& in, const nvlm_tensor& out) {
    const nvlm_constants& c = r.c;
    heads(c, true);
    if (!wrong_.empty()) return;
    same_rows(in, out);
    require(r.in != r.out, "input and output must differ");
    const int64_t width = static_cast<int64_t>(c.heads) * c.head_dim;
    require(out.cols == width && in.cols >= width, "queries do not fit");
    switch (c.source) {
      case NVLM_KEYS_SELF: return cache(p_.self_kv, c);
      case NVLM_KEYS_CROSS: return cache(p_.cross_kv, c);
      case NVLM_KEYS_TILE:
        require(c.kv_heads == c.heads && in.cols == 3 * width, "the encoder's attention needs [q|k|v]");
        return require(in.extent == NVLM_TILES && c.rows_each == in.rows_each, "a tile's rows do not fit");
    }
    require(false, "unknown source of keys");
  }

  void check_record(const nvlm_record& r) {
    require(static_cast<uint32_t>(r.op) < NVLM_OP_COUNT, "unknown op");
    if (!wrong_.empty()) return;
    const nvlm_tensor* in = takes_in(r.op) ? tensor(r.in, "the input is missing") : nullptr;
    const nvlm_tensor* out = takes_out(r.op) ? tensor(r.out, "the output is missing") : nullptr;
    if (!wrong_.empty()) return;
    const nvlm_constants& c = r.c;
    switch (r.op) {
      case NVLM_PATCH_EMBED: {
        require(c.side > 0 && c.patch > 0 && c.side % c.patch == 0 && c.side <= 65536,
                "side must be a multiple of patch");
        if (!wrong_.empty()) return;
        const int64_t patches = static_cast<int64_t>(c.side / c.patch) * (c.side / c.patch);
        require(out->extent == NVLM_TILES && out->rows_each == patches + 1, "the output does not fit the patches");
        weight(r.w, NVLM_MATRIX, out->cols, int64_t{3} * c.patch * c.patch, "the patch kernel does not fit");
        vector(r.bias, out->cols, "the bias does not fit");
        vector(r.class_token, out->cols, "the class token does not fit");
        return vector(r.positions, (patches + 1) * out->cols, "the positions do not fit");
      }
      case NVLM_RMS_NORM:
      case NVLM_LAYER_NORM:
        same_rows(*in, *out);
        require(in->cols == out->cols && r.in != r.out, "input and output differ");
        vector(r.w, in->cols, "the norm's weight does not fit");
        return vector(r.bias, in->cols, "the norm's bias does not fit", r.op == NVLM_RMS_NORM);
      case NVLM_QK_NORM:
        require(out->cols % 3 == 0 && c.true_width >= 0, "columns must be [q|k|v]");
        vector(r.q_norm, out->cols / 3, "the query norm does not fit");
        return vector(r.k_norm, out->cols / 3, "the key norm does not fit");
      case NVLM_LINEAR:
      case NVLM_LINEAR_GELU:
      case NVLM_LINEAR_SWIGLU:
      case NVLM_LINEAR_RESIDUAL:
      case NVLM_LOGITS: return check_linear(r, *in, *out);
      case NVLM_ROPE_KV_WRITE:
        heads(c, true);
        require(out->extent == NVLM_ROWS &&
                    out->cols == (static_cast<int64_t>(c.heads) + 2 * static_cast<int64_t>(c.kv_heads)) * c.head_dim,
                "columns must be [q|k|v]");
        return cache(p_.self_kv, c);
      case NVLM_KV_WRITE:
        heads(c, false);
        require(in->extent == NVLM_ROWS && in->cols == 2 * static_cast<int64_t>(c.kv_heads) * c.head_dim,
                "columns must be [k|v]");
        return cache(p_.cross_kv, c);
      case NVLM_ATTENTION: return check_attention(r, *in, *out);
      case NVLM_PIXEL_SHUFFLE_NORM: {
        require(c.grid > 0 && c.grid <= 65536 && c.ratio > 0 && c.grid % c.ratio == 0,
                "grid must be a multiple of ratio");
        if (!wrong_.empty()) return;
        const int64_t side = c.grid / c.ratio;
        require(in->extent == NVLM_TILES && in->rows_each == static_cast<int64_t>(c.grid) * c.grid + 1,
                "the input does not fit the grid");
        require(out->extent == NVLM_TILES && out->rows_each == side * side && out->cols == in->cols * c.ratio * c.ratio,
                "the output does not fit the grid");
        vector(r.w, out->cols, "the norm's weight does not fit");
        return vector(r.bias, out->cols, "the norm's bias does not fit");
      }
      case NVLM_EMBED:
        require(out->extent == NVLM_ROWS && out->rows_each == 1,
                "the output must have a row for each row of the batch");
        require(r.w >= 0 && r.w < p_.weight_count && p_.weights[r.w], "the table is missing");
        if (!wrong_.empty()) return;
        return weight(r.w, p_.weights[r.w]->use == NVLM_MATRIX ? NVLM_MATRIX : NVLM_TABLE, p_.weights[r.w]->rows,
                      out->cols, "the table does not fit");
      case NVLM_GATHER_ROWS:
        require(in->extent == NVLM_ROWS && in->rows_each == 1 && out->extent == NVLM_OUTS && out->rows_each == 1,
                "gathers batch rows to out rows");
        return require(in->cols == out->cols, "input and output differ");
      case NVLM_SAMPLE: return require(in->extent == NVLM_OUTS && in->rows_each == 1, "samples out rows");
      case NVLM_OP_COUNT: return;
    }
  }

  const nvlm_program& p_;
  int32_t index_ = 0;
  std::string wrong_;
};

// ---- Batches ----

std::string at(const char* what, int64_t i) {
  return std::string(what) + " of row " + std::to_string(i) + " of the batch is out of range";
}

bool uses(const nvlm_program& p, nvlm_op op) {
  return std::any_of(p.records, p.records + p.record_count, [op](const nvlm_record& r) { return r.op == op; });
}

bool attends(const nvlm_program& p, nvlm_key_source source) {
  return std::any_of(p.records, p.records + p.record_count,
                     [source](const nvlm_record& r) { return r.op == NVLM_ATTENTION && r.c.source == source; });
}

std::string check_slots(const nvlm_batch& b, const nvlm_kv_cache& kv) {
  for (int64_t r = 0; r < b.rows; ++r) {
    if (b.kv_slot[r] < 0 || b.kv_slot[r] >= int64_t{kv.pages} * NVLM_PAGE_KEYS) return at("the kv slot", r);
  }
  return {};
}

// Pages of each sequence, and that its rows' intervals lie within their keys.
std::string check_keys(const nvlm_batch& b, const nvlm_pages& pages, const nvlm_kv_cache& kv, const int32_t* begin,
                       const int32_t* end) {
  for (int32_t s = 0; s < b.sequences; ++s) {
    int64_t keys = 0;
    if (pages.begin[s] < 0 || pages.begin[s + 1] < pages.begin[s]) return at("the page list of the sequence", s);
    for (int32_t p = pages.begin[s]; p < pages.begin[s + 1]; ++p) {
      if (pages.page[p] < 0 || pages.page[p] >= kv.pages || pages.fill[p] < 0 || pages.fill[p] > NVLM_PAGE_KEYS)
        return at("a page of the sequence", s);
      keys += pages.fill[p];
    }
    for (int32_t r = b.row_begin[s]; r < b.row_begin[s + 1]; ++r) {
      if (begin[r] < 0 || end[r] < begin[r] || end[r] > keys) return at("the key interval", r);
    }
  }
  return {};
}

std::string check_rows(const nvlm_batch& b) {
  if (b.sequences <= 0) return b.rows == 0 ? "" : "the batch's sequences do not cover its rows";
  if (b.row_begin[0] != 0 || b.row_begin[b.sequences] != b.rows) return "the batch's sequences do not cover its rows";
  for (int32_t s = 0; s < b.sequences; ++s) {
    if (b.row_begin[s + 1] < b.row_begin[s]) return "the batch's sequences do not cover its rows";
  }
  return {};
}

std::string check_embed(const nvlm_program& p, const nvlm_batch& b) {
  for (int32_t i = 0; i < p.record_count; ++i) {
    if (p.records[i].op != NVLM_EMBED) continue;
    const int64_t vocab = p.weights[p.records[i].w]->rows;
    for (int64_t r = 0; r < b.rows; ++r) {
      if ((!b.source || !b.source[r]) && (b.token[r] < 0 || b.token[r] >= vocab)) return at("the token", r);
    }
  }
  return {};
}

}  // namespace

std::string check_program(const nvlm_program& program) { return ProgramCheck(program).run(); }

std::string check_batch(const nvlm_program& p, const nvlm_batch& b) {
  if (b.tiles < 0 || b.tiles > p.max_count[NVLM_TILES] || b.rows < 0 || b.rows > p.max_count[NVLM_ROWS] || b.outs < 0 ||
      b.outs > p.max_count[NVLM_OUTS]) {
    return "the batch is larger than its plan";
  }
  if (uses(p, NVLM_PATCH_EMBED) && b.tiles > 0 && !b.pixels) return "the batch has no pixels";
  if (uses(p, NVLM_SAMPLE) && b.sampled && b.outs > 0 && !b.sampling) return "the batch has no sampling options";
  std::string wrong = check_embed(p, b);
  if (wrong.empty() && uses(p, NVLM_ROPE_KV_WRITE)) {
    for (int64_t r = 0; r < b.rows && wrong.empty(); ++r) {
      if (b.position[r] < 0) wrong = at("the position", r);
    }
    if (wrong.empty()) wrong = check_slots(b, p.self_kv);
  }
  if (wrong.empty() && uses(p, NVLM_KV_WRITE)) wrong = check_slots(b, p.cross_kv);
  const bool self = attends(p, NVLM_KEYS_SELF), cross = attends(p, NVLM_KEYS_CROSS);
  if (wrong.empty() && (self || cross)) wrong = check_rows(b);
  if (wrong.empty() && self) wrong = check_keys(b, b.self_pages, p.self_kv, b.self_begin, b.self_end);
  if (wrong.empty() && cross) wrong = check_keys(b, b.cross_pages, p.cross_kv, b.cross_begin, b.cross_end);
  if (wrong.empty() && uses(p, NVLM_GATHER_ROWS)) {
    for (int64_t o = 0; o < b.outs && wrong.empty(); ++o) {
      if (b.out_row[o] < 0 || b.out_row[o] >= b.rows)
        wrong = "out row " + std::to_string(o) + " of the batch names no row";
    }
  }
  return wrong;
}

}  // namespace nvlm
