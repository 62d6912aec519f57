// What is known of every op beside its arithmetic: its name, the tensors it takes, and to which kind it belongs.
#pragma once

#include "ops/op_table.h"
#include "ops/ops.h"

namespace nvlm {

// Which tensors a record of the op names. An op that works in place names its tensor as `out` alone.
enum class Tensors { in, out, both };

enum class OpKind {
  norm,     // of rows by themselves: a backend may make one launch of it and the product behind it
  product,  // of activations with a matrix
  other
};

struct OpInfo {
  const char* name;
  Tensors tensors;
  OpKind kind = OpKind::other;
};

inline constexpr OpTable<OpInfo> kOpInfo = op_table<OpInfo>({
    {NVLM_PATCH_EMBED, {"patch_embed", Tensors::out}},
    {NVLM_RMS_NORM, {"rms_norm", Tensors::both, OpKind::norm}},
    {NVLM_LAYER_NORM, {"layer_norm", Tensors::both, OpKind::norm}},
    {NVLM_QK_NORM, {"qk_norm", Tensors::out}},
    {NVLM_LINEAR, {"linear", Tensors::both, OpKind::product}},
    {NVLM_LINEAR_GELU, {"linear_gelu", Tensors::both, OpKind::product}},
    {NVLM_LINEAR_SWIGLU, {"linear_swiglu", Tensors::both, OpKind::product}},
    {NVLM_LINEAR_RESIDUAL, {"linear_residual", Tensors::both, OpKind::product}},
    {NVLM_ROPE_KV_WRITE, {"rope_kv_write", Tensors::out}},
    {NVLM_KV_WRITE, {"kv_write", Tensors::in}},
    {NVLM_ATTENTION, {"attention", Tensors::both}},
    {NVLM_PIXEL_SHUFFLE_NORM, {"pixel_shuffle_norm", Tensors::both}},
    {NVLM_EMBED, {"embed", Tensors::out}},
    {NVLM_GATHER_ROWS, {"gather_rows", Tensors::both}},
    {NVLM_LOGITS, {"logits", Tensors::both, OpKind::product}},
    {NVLM_SAMPLE, {"sample", Tensors::in}},
});

constexpr const char* op_name(nvlm_op op) { return kOpInfo[op].name; }
constexpr bool takes_in(nvlm_op op) { return kOpInfo[op].tensors != Tensors::out; }
constexpr bool takes_out(nvlm_op op) { return kOpInfo[op].tensors != Tensors::in; }
constexpr bool is_norm(nvlm_op op) { return kOpInfo[op].kind == OpKind::norm; }
constexpr bool is_product(nvlm_op op) { return kOpInfo[op].kind == OpKind::product; }

// Whether this tensor of the record holds logits, which are float32 on every device.
constexpr bool is_logits(const nvlm_record& r, int32_t tensor) {
  return (r.op == NVLM_LOGITS && tensor == r.out) || (r.op == NVLM_SAMPLE && tensor == r.in);
}

}  // namespace nvlm
