// The ops that are timed: each makes its operands, compares sampled outputs with a double-precision computation (throws
// std::runtime_error with what is wrong), and then measures.
#pragma once

#include <string>

#include "cuda/launchers.h"
#include "op_timing.h"
#include "ops/ops.h"

namespace nvlm::times {

// What a launcher asked for, as a step would find it.
struct Scratch {
  Scratch(const Machine& machine, const WorkspaceNeed& need)
      : floats(machine, static_cast<uint64_t>(need.floats) * 4),
        counters(machine, static_cast<uint64_t>(need.counters) * 4),
        workspace{floats.as<float>(), need.floats, counters.as<uint32_t>(), need.counters} {
    counters.fill_with(0);
  }
  Memory floats, counters;
  Workspace workspace;
};

// An op on this machine, without operands yet.
inline Op op_of(const Machine& machine, const nvlm_record& record) {
  Op op{};
  op.record = &record;
  op.device = &machine.info;
  op.stream = machine.stream;
  return op;
}
inline void reads(Op* op, const Memory& memory, int64_t rows, int64_t cols) {
  op->in = memory.as<const bf16>(), op->in_rows = rows, op->in_cols = cols;
}
inline void writes(Op* op, const Memory& memory, int64_t rows, int64_t cols) {
  op->out = memory.as<void>(), op->out_rows = rows, op->out_cols = cols;
}

// Float32, the whole of it.
inline DeviceWeight vector_of(const Memory& memory) {
  const auto length = static_cast<int64_t>(memory.bytes() / sizeof(float));
  return {NVLM_VECTOR, false, 1, length, length, memory.as<void>()};
}

// op_cases.cc
struct ProductShape {
  std::string name;
  nvlm_op op;
  int64_t rows, n, k;
};
Line product(const Machine& machine, const ProductShape& s);
Line device_copy(const Machine& machine);

// attention_cases.cc. Cross: the first eighth of each sequence's rows stands before the image, the next eighth are tags
// of a tile each, of `tile_keys` keys, and the rest sees all. 0: every row sees all.
struct AttentionShape {
  std::string name;
  nvlm_key_source source;
  int32_t sequences;   // tiles
  int32_t rows, keys;  // of each; of its own cache the rows are the last keys, causal
  int32_t heads, kv_heads, head_dim;
  int32_t tile_keys = 0;
};
Line attention(const Machine& machine, const AttentionShape& s);

// norm_cases.cc
// Rms_norm, layer_norm.
Line norm(const Machine& machine, const std::string& name, nvlm_op op, int64_t rows, int64_t cols);
Line qk_norm(const Machine& machine, const std::string& name, int64_t rows, int64_t width);
struct ShuffleShape {
  std::string name;
  int32_t tiles, grid, ratio;
  int64_t n;
  bool transpose;
};
Line pixel_shuffle_norm(const Machine& machine, const ShuffleShape& s);

// picture_cases.cc
struct PatchShape {
  std::string name;
  int32_t tiles, side, patch;
  int64_t n;
};
Line patch_embed(const Machine& machine, const PatchShape& s);
struct PictureShape {
  std::string name;
  int32_t width, height, columns, rows, side;
};
Line resize(const Machine& machine, const PictureShape& s);

// row_cases.cc: what moves rows from place to place.
struct CacheShape {
  std::string name;
  int32_t rows, heads, kv_heads, head_dim;
};
Line rope_kv_write(const Machine& machine, const CacheShape& s);
Line kv_write(const Machine& machine, const CacheShape& s);
struct EmbedShape {
  std::string name;
  int32_t rows, image_rows;  // as many of the rows are those of an image
  int64_t vocab, n;
};
Line embed(const Machine& machine, const EmbedShape& s);
Line gather_rows(const Machine& machine, const std::string& name, int64_t outs, int64_t rows, int64_t cols);

// decode_cases.cc: launches of a step of one row that are several ops at once, compared with those ops one by one.
Line norm_product(const Machine& machine, const ProductShape& s);
struct QkvShape {
  std::string name;
  int64_t hidden;
  int32_t heads, kv_heads, head_dim;
};
Line norm_qkv_rope_write(const Machine& machine, const QkvShape& s);

// sample_cases.cc. `history`: how many tokens stand before.
Line sample(const Machine& machine, const std::string& name, int64_t vocab, nvlm_sampling options, int32_t history);

}  // namespace nvlm::times
