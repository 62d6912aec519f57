// The ops that are timed: each makes its operands, compares sampled outputs with a double-precision computation (throws std::runtime_error with what is
// wrong), and then measures.
#pragma once

#include <string>

#include "op_timing.h"
#include "ops/ops.h"

namespace nvlm::times {

struct ProductShape {
  std::string name;
  nvlm_op op;
  int64_t rows, n, k;
};

struct AttentionShape {
  std::string name;
  nvlm_key_source source;
  int32_t sequences;      // tiles
  int32_t rows, keys;     // of each; the rows are the last of the keys, causal, except in tiles
  int32_t heads, kv_heads, head_dim;
};

Line product(const Machine& machine, const ProductShape& s);
Line attention(const Machine& machine, const AttentionShape& s);
Line rms_norm(const Machine& machine, const std::string& name, int64_t rows, int64_t cols);

// decode_cases.cc: launches of a step of one row that are several ops at once, compared with those ops one by one; and sampling.
Line norm_product(const Machine& machine, const ProductShape& s);
struct QkvShape {
  std::string name;
  int64_t hidden;
  int32_t heads, kv_heads, head_dim;
};
Line norm_qkv_rope_write(const Machine& machine, const QkvShape& s);
Line sample(const Machine& machine, const std::string& name, int64_t vocab, float temperature, float top_p);

Line device_copy(const Machine& machine);

}  // namespace nvlm::times
