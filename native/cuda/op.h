// What a kernel's launcher gets: one record of a program with its operands resolved to device addresses, and where to
// launch.
//
// Activations are bf16, row-major and dense, with a number of columns that is a multiple of 8 (so that 16-byte loads
// are aligned); logits are float32. Matrices and tables are bf16 [rows, pitch], pitch = columns rounded up to 8,
// padding zero; vectors are float32. Sums are float32. The row counts of a launch are exact: graphs exist per row
// count.
#pragma once

#include <cstdint>

#include "cuda/bf16.h"
#include "cuda/gpu.h"
#include "cuda/weight_format.h"
#include "ops/ops.h"

namespace nvlm::gpu {

// An uploaded weight.
struct DeviceWeight {
  nvlm_weight_use use;
  bool interleaved;           // rows 2i and 2i + 1 are a gate and its up row
  int64_t rows, cols, pitch;  // of a vector: 1, length, length
  void* data;
  WeightFormat format = WeightFormat::bf16;  // of a matrix
  const bf16* matrix() const { return static_cast<const bf16*>(data); }
  const float* vector() const { return static_cast<const float*>(data); }
};

// Keys and values of one kind: for each layer k, then v, each [pages][kv_heads][64][head_dim].
struct KvCache {
  bf16* memory;
  int32_t layers, pages, kv_heads, head_dim;
  int64_t page_elements() const { return int64_t{kv_heads} * NVLM_PAGE_KEYS * head_dim; }
  bf16* keys(int32_t layer) const { return memory + int64_t{2} * layer * pages * page_elements(); }
  bf16* values(int32_t layer) const { return keys(layer) + pages * page_elements(); }
};

// Pages of the sequences, back to back. Keys of a sequence are numbered along its pages.
struct PageList {
  const int32_t* begin;  // [sequences + 1] into the others
  const int32_t* page;
  const int32_t* fill;       // keys in the page, at most 64
  const int32_t* first_key;  // number of the page's first key within its sequence
};

// Rows of one sequence that an attention block takes together.
struct RowTile {
  int32_t sequence, first_row, rows;
  // Of the sequence's list (absolute indices, end excluded) that the rows' intervals touch.
  int32_t first_page, last_page;
};

// With g query heads per kv head, a tile of a prefill holds as many rows as make 64 (row, head) pairs.
constexpr int32_t kTilePairs = 64;
inline int32_t rows_per_tile(int32_t heads, int32_t kv_heads) {
  return kTilePairs * kv_heads / heads > 1 ? kTilePairs * kv_heads / heads : 1;
}

// A step: counts the host knows, and device addresses that stay the same from step to step (so that graphs can hold
// them); what lies there changes.
struct DeviceBatch {
  int64_t tiles, rows, outs;
  int32_t sequences;
  bool one_row_each;  // decode: sequence s has row s alone
  int32_t self_tile_count, cross_tile_count;
  const uint8_t* pixels;                                           // [tiles, side, side, 3]
  const int32_t* token;                                            // [rows]
  const bf16* const* source;                                       // [rows]; null entries: a token
  const int32_t* position;                                         // [rows]
  const int64_t* kv_slot;                                          // [rows]
  const int32_t *self_begin, *self_end, *cross_begin, *cross_end;  // [rows]
  const int32_t* row_sequence;                                     // [rows]
  PageList self_pages, cross_pages;
  const RowTile *self_tiles, *cross_tiles;
  const int32_t* out_row;         // [outs]
  const nvlm_sampling* sampling;  // [outs]; `history` is a device address
  nvlm_sampled* sampled;          // [outs], device memory
};

// Scratch of the device, shared by all launches of its stream.
struct Workspace {
  float* floats;
  int64_t float_count;
  uint32_t* counters;  // all zero between launches: who counts up sets back
  int32_t counter_count;
};

struct Op {
  const nvlm_record* record;
  const bf16* in;  // [in_rows, in_cols]
  void* out;       // [out_rows, out_cols]: bf16, but float32 for logits (and for the input of sample)
  int64_t in_rows, in_cols, out_rows, out_cols;
  const DeviceWeight *w, *bias, *scale, *q_norm, *k_norm, *class_token, *positions;  // null: none
  KvCache self_kv, cross_kv;
  const DeviceBatch* batch;
  const Workspace* workspace;
  const DeviceInfo* device;
  Stream stream;

  const nvlm_constants& c() const { return record->c; }
  bf16* out_bf16() const { return static_cast<bf16*>(out); }
};

}  // namespace nvlm::gpu
