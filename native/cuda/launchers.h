// Every launcher of native/cuda: what it computes is said at the op in ops/ops.h, how, in the file of its name.
#pragma once

#include "cuda/op.h"

namespace nvlm::gpu {

// kernels/norm.cu
Status enqueue_rms_norm(const Op& op);
Status enqueue_layer_norm(const Op& op);
Status enqueue_qk_norm(const Op& op);             // kernels/qk_norm.cu
Status enqueue_pixel_shuffle_norm(const Op& op);  // kernels/pixel_shuffle_norm.cu
Status enqueue_rope_kv_write(const Op& op);       // kernels/rope_kv_write.cu
Status enqueue_kv_write(const Op& op);            // kernels/kv_write.cu
Status enqueue_embed(const Op& op);               // kernels/embed.cu
Status enqueue_gather_rows(const Op& op);         // kernels/gather_rows.cu
Status enqueue_sample(const Op& op);              // kernels/sample.cu

// Attention: kernels/attention_prefill_sm80.cu, attention_decode_sm80.cu, attention_tile_sm80.cu, attention_any.cu
// (other head sizes).
Status enqueue_attention(const Op& op);  // attention.cc chooses

// Products with more than 4 rows: kernels/gemm_sm80*.cu, chosen by gemm_plan.cc. linear, linear_gelu, linear_swiglu,
// linear_residual, logits.
Status enqueue_gemm(const Op& op);
Status enqueue_patch_embed(const Op& op);  // kernels/patch_embed.cu

// Products with 1 to 4 rows: kernels/gemv*.cu.
Status enqueue_gemv(const Op& op);
// The fused ones of a decode step; the plan finds them by their records.
// Whether the records, at these sizes (1 to 4 rows, rows * columns of the norm at most 32768, heads of at most 128) and
// addresses, can be one launch. That nothing else reads the norm's output is for the plan to know: it is not written.
bool can_norm_gemv(const Op& norm, const Op& linear);
bool can_norm_qkv_rope_write(const Op& norm, const Op& qkv, const Op& rope);
// Linear or linear_swiglu behind a norm.
Status enqueue_norm_gemv(const Op& norm, const Op& linear);
Status enqueue_norm_qkv_rope_write(const Op& norm, const Op& qkv, const Op& rope);

// Resizing and cutting a picture: kernels/resize_tile.cu. Weights of one axis (image/resample.h, AxisTaps), copied to
// the device, offsets as int32; out is 0 where the axis keeps its size.
struct DeviceTaps {
  int32_t in, out;
  const int32_t *first, *offset, *weight;  // [out], [out + 1], [offset[out]]
};
// A picture to columns x rows tiles of a side. A thumbnail is a second one with a single tile.
struct Resize {
  const uint8_t* rgb;  // [height, width, 3]
  int32_t width, height, columns, rows, side;
  DeviceTaps across, down;
  uint8_t* scratch;  // resize_scratch bytes; of a stream, since launches use it one after the other
  uint8_t* out;      // [rows * columns, side, side, 3]
  Stream stream;
};
int64_t resize_scratch(const Resize& resize);
Status enqueue_resize(const Resize& resize);

// kernels/probe.cu: *word = kProbed.
constexpr uint32_t kProbed = 0x6e766c6d;
Status enqueue_probe(uint32_t* word, Stream stream);

// Floats of workspace and counters that any of these may ask for, for programs up to `rows` rows on this device.
struct WorkspaceNeed {
  int64_t floats;
  int32_t counters;
};
WorkspaceNeed gemm_workspace(const DeviceInfo& device, int64_t rows, int64_t columns, int64_t depth);
WorkspaceNeed attention_workspace(const DeviceInfo& device, int64_t rows, int32_t heads, int32_t kv_heads,
                                  int32_t head_dim);
int64_t sample_workspace(int64_t outs, int64_t vocab);                      // floats
int64_t patch_embed_workspace(int64_t tiles, int32_t side, int32_t patch);  // floats

}  // namespace nvlm::gpu
