/* The border between the model and a backend: op records, programs, batches, weights, and one versioned table of
 * functions.
 *
 * Plain C: the CUDA backend lives behind dlopen, so no STL, virtual function or exception crosses this file. The model
 * (native/model) records a program once; a backend compiles it to a plan and runs the plan with a batch. Whatever
 * changes from step to step stands in the batch. */
#ifndef NVLM_OPS_OPS_H
#define NVLM_OPS_OPS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NVLM_BACKEND_VERSION 4
#define NVLM_PAGE_KEYS 64 /* keys in one kv page: [kv_heads][64][head_dim] */
static inline int64_t nvlm_pages_for(int64_t keys) { return (keys + NVLM_PAGE_KEYS - 1) / NVLM_PAGE_KEYS; }

typedef enum nvlm_status {
  NVLM_OK = 0,
  NVLM_OUT_OF_MEMORY,
  NVLM_UNSUPPORTED, /* last_error says which op or format, and why */
  NVLM_INVALID,     /* a size or index in a program or batch is out of range */
  NVLM_CANCELLED,
  NVLM_DEVICE_FAILED
} nvlm_status;

typedef enum nvlm_dtype { NVLM_F32, NVLM_BF16, NVLM_F16 } nvlm_dtype;
static inline uint64_t nvlm_dtype_bytes(nvlm_dtype dtype) { return dtype == NVLM_F32 ? 4 : 2; }

/* ---- Tensors of a program: slots of one planned arena. Rows follow a count of the batch. ---- */

typedef enum nvlm_extent {
  NVLM_TILES, /* batch.tiles */
  NVLM_ROWS,  /* batch.rows: decoder rows, or cross tokens in the cross program */
  NVLM_OUTS,  /* batch.outs: rows whose logits are wanted */
  NVLM_EXTENT_COUNT
} nvlm_extent;

typedef struct nvlm_tensor {
  nvlm_extent extent;
  int64_t rows_each; /* rows = rows_each * count(extent) */
  int64_t cols;      /* elements a row; row-major, dense */
  uint64_t offset;   /* byte offset in the arena; the planner (ops/planner.h) sets it */
  nvlm_dtype dtype;  /* capabilities.activations, logits apart: those are float32 on every device */
} nvlm_tensor;

/* ---- Ops. `in`, `out` and `residual` are tensors; the other operands weights. ----
 * rows below: rows of the tensor. Shapes in brackets are row-major. Sums are float32 (weights are widened); a device
 * whose activations are bf16 rounds what it writes. */

typedef enum nvlm_op {
  /* out [tiles*(patches+1), n] = class token, then pixels·wᵀ + bias, + position. Pixels come from batch.pixels, u8
   * [tiles, side, side, 3], normalised as (x/255 − mean)/std. w [n, 3*patch*patch] (channel, y, x), bias [n],
   * class_token [n], positions [patches+1, n]. c: side, patch. */
  NVLM_PATCH_EMBED,
  /* out = in / rms(in) * w: sum of squares divided by c.true_width (0: cols), c.eps inside the root. */
  NVLM_RMS_NORM,
  /* out = (in − mean)/sqrt(var + eps) * w + bias. */
  NVLM_LAYER_NORM,
  /* in place on out [rows, 3*width]: the first `width` columns by q_norm, the next by k_norm, each RMS-normalised over
     all heads together, c.true_width. */
  NVLM_QK_NORM,
  /* out [rows, n] = in [rows, k]·wᵀ + bias. w [n, k]; bias may be -1. */
  NVLM_LINEAR,
  NVLM_LINEAR_GELU,   /* exact GELU (erf) of the same */
  NVLM_LINEAR_SWIGLU, /* w = gate and up packed together: rows 2i gate, 2i+1 up (upload_weight gets two parts); out
                         [rows, n] = silu(gate)*up */
  /* residual += s ⊙ (in·wᵀ + bias), s: scale [n] (LayerScale), or tanh(scale[0]) when c.tanh_gate, or 1 when scale is
     -1. residual == out. */
  NVLM_LINEAR_RESIDUAL,
  /* in place on out [rows, (heads + 2*kv_heads)*head_dim]: rotate-half rope on q and k with batch.position, then k and
     v go to self pages of c.layer at batch.kv_slot. */
  NVLM_ROPE_KV_WRITE,
  /* in [rows, 2*kv_heads*head_dim] (k then v) to cross pages of c.layer at batch.kv_slot; no rope. */
  NVLM_KV_WRITE,
  /* out [rows, heads*head_dim] = attention of the queries (first heads*head_dim columns of in) over c.source; scale
   * 1/sqrt(head_dim); one key interval a row; an empty interval gives zeros. NVLM_KEYS_TILE: keys and values are
   * columns of `in` itself ([q|k|v], kv_heads == heads), interval = the row's tile (c.rows_each rows). */
  NVLM_ATTENTION,
  /* in [tiles*(1+grid*grid), n] -> out [tiles*(grid/ratio)^2, ratio*ratio*n], class row dropped; blocks row-major,
   * channels in block order; c.transpose (ps_version v1) swaps the token grid's axes; then layer norm (w, bias, eps).
   */
  NVLM_PIXEL_SHUFFLE_NORM,
  /* out [rows, n]: batch.source[row] (an image-token row of n floats) if not null, else row batch.token[row] of w
     [vocab, n]: a table, or the matrix of a tied head. */
  NVLM_EMBED,
  /* out [outs, n] = in[batch.out_row[i]]. */
  NVLM_GATHER_ROWS,
  /* out [outs, vocab] = in·wᵀ: the head; its own op because backends treat it apart. */
  NVLM_LOGITS,
  /* in [outs, vocab]: one token an out row, by batch.sampling; writes batch.sampled. */
  NVLM_SAMPLE,
  NVLM_OP_COUNT
} nvlm_op;

typedef enum nvlm_key_source { NVLM_KEYS_SELF, NVLM_KEYS_CROSS, NVLM_KEYS_TILE } nvlm_key_source;

typedef struct nvlm_constants {
  float eps;
  float rope_theta;
  int32_t heads, kv_heads, head_dim;
  int32_t true_width; /* RMS divisor; 0: the row's own width */
  int32_t layer;      /* layer of the kv cache (self: decoder layer; cross: n-th cross layer) */
  nvlm_key_source source;
  int32_t rows_each;   /* NVLM_KEYS_TILE: rows of one tile */
  int32_t side, patch; /* patch_embed: tile side and patch side in pixels */
  int32_t grid, ratio; /* pixel_shuffle_norm: patches a side; block side */
  int32_t transpose;
  int32_t tanh_gate;
} nvlm_constants;

typedef struct nvlm_record {
  nvlm_op op;
  int32_t in, out; /* tensor numbers; -1: none */
  /* Weight numbers in the program's weight table; -1: none. */
  int32_t w, bias, scale, q_norm, k_norm, class_token, positions;
  nvlm_constants c;
} nvlm_record;

/* One that names no tensor and no weight yet. */
static inline nvlm_record nvlm_empty_record(nvlm_op op) {
  nvlm_record r;
  memset(&r, 0, sizeof r);
  r.op = op;
  r.in = r.out = -1;
  r.w = r.bias = r.scale = r.q_norm = r.k_norm = r.class_token = r.positions = -1;
  return r;
}

typedef struct nvlm_weight nvlm_weight; /* opaque: packed as the backend likes */
typedef struct nvlm_device nvlm_device;
typedef struct nvlm_plan nvlm_plan;

/* Key/value storage of one kind (self or cross): for each layer, k then v, each [pages][kv_heads][64][head_dim]. */
typedef struct nvlm_kv_cache {
  void* memory; /* from alloc; NULL: the program has none. Bytes: nvlm_kv_cache_bytes */
  int32_t layers, pages, kv_heads, head_dim;
  nvlm_dtype dtype; /* capabilities.activations */
} nvlm_kv_cache;

static inline uint64_t nvlm_kv_page_elements(const nvlm_kv_cache* c) {
  return (uint64_t)c->kv_heads * NVLM_PAGE_KEYS * (uint64_t)c->head_dim;
}
static inline uint64_t nvlm_kv_cache_bytes(const nvlm_kv_cache* c) {
  return (uint64_t)c->layers * 2 * (uint64_t)c->pages * nvlm_kv_page_elements(c) * nvlm_dtype_bytes(c->dtype);
}

typedef struct nvlm_program {
  const char* name; /* "encode", "cross", "decode" */
  const nvlm_record* records;
  int32_t record_count;
  const nvlm_tensor* tensors; /* offsets set */
  int32_t tensor_count;
  nvlm_weight* const* weights;
  int32_t weight_count;
  int64_t max_count[NVLM_EXTENT_COUNT]; /* largest batch this plan will run */
  /* Longest page lists and token histories of a batch, summed over its sequences: a backend that copies batches to a
   * device plans for them. */
  int64_t max_self_pages, max_cross_pages, max_history;
  uint64_t arena_bytes;
  void* arena; /* from alloc; several plans of one device may share it, since one runs at a time */
  nvlm_kv_cache self_kv, cross_kv;
} nvlm_program;

/* ---- Batch ---- */

/* How a token is chosen. Penalties, in float32: the logit of a token of the history is divided by repetition_penalty
 * when positive, else multiplied; that of a token which the answer has n times is lessened by presence_penalty +
 * frequency_penalty * n. Then the likeliest token (the lowest id among equals) if temperature <= 0; else weights
 * e^(logit / temperature), and of the tokens sorted likeliest first, the lower id among equals: the first top_k; of
 * those the fewest whose weights reach top_p of all those, at least one; of those the ones whose weight is at least
 * min_p of the likeliest's. Taken is the first whose weights up to it exceed u of the total: u in [0, 1) is
 * mix(mix(seed) ^ mix(2 * step + 1)) >> 11 in units of 2^-53, mix being SplitMix64's. */
typedef struct nvlm_sampling {
  float temperature;                         /* <= 0: greedy */
  int32_t top_k;                             /* 0: off */
  float top_p;                               /* 1: off */
  float min_p;                               /* 0: off */
  float repetition_penalty;                  /* 1: off; over prompt and answer */
  float presence_penalty, frequency_penalty; /* 0: off; over the answer alone */
  uint64_t seed, step;                       /* same seed, same text, whatever runs beside it */
  const int32_t* history;                    /* prompt ids (text and image slots alike), then answer ids */
  int32_t history_len, prompt_len;
  int32_t top_logprobs; /* -1: none; 0: the chosen token's; n <= NVLM_MAX_TOP_LOGPROBS */
} nvlm_sampling;

#define NVLM_MAX_TOP_LOGPROBS 20

typedef struct nvlm_sampled {
  int32_t token; /* -1: the logits were not finite */
  float logprob; /* of the model's own distribution (before temperature, penalties and filters) */
  int32_t top_count;
  int32_t top_token[NVLM_MAX_TOP_LOGPROBS]; /* most likely first */
  float top_logprob[NVLM_MAX_TOP_LOGPROBS];
} nvlm_sampled;

/* Page list of one kind (self or cross). Keys of a sequence are numbered along its pages; page i holds fill[i] of them
 * (<= 64). */
typedef struct nvlm_pages {
  const int32_t* begin; /* [sequences + 1] into page/fill */
  const int32_t* page;
  const int32_t* fill;
} nvlm_pages;

typedef struct nvlm_batch {
  int64_t tiles, rows, outs;
  int32_t sequences;
  const uint8_t* pixels; /* u8 [tiles, side, side, 3] */
  /* per row */
  const int32_t* token;
  const void* const* source; /* device memory, of the activations' type; NULL array: all rows are tokens */
  const int32_t* position;
  const int64_t* kv_slot;    /* page * 64 + place, of the cache that the program writes */
  const int32_t* self_begin; /* key interval [begin, end) */
  const int32_t* self_end;
  const int32_t* cross_begin;
  const int32_t* cross_end;
  /* per sequence: rows of sequence s are row_begin[s] .. row_begin[s+1] */
  const int32_t* row_begin; /* [sequences + 1] */
  nvlm_pages self_pages, cross_pages;
  /* per out row */
  const int32_t* out_row;
  const nvlm_sampling* sampling;
  nvlm_sampled* sampled; /* NULL: the sample op does nothing */
} nvlm_batch;

/* ---- Weights ---- */

typedef enum nvlm_weight_use {
  NVLM_VECTOR, /* norm weights, biases, scales, class token: float32 */
  NVLM_MATRIX, /* [n, k] of a linear op */
  NVLM_TABLE   /* [vocab, n] embedding rows; those of a tied head are its NVLM_MATRIX */
} nvlm_weight_use;

#define NVLM_MAX_PARTS 3

/* One weight: `parts` stored tensors [n_i, k], stacked by rows (q,k,v; k,v), or interleaved row by row (gate, up; equal
 * n). Vectors (rows 1, cols n_i) are laid end to end. */
typedef struct nvlm_weight_source {
  nvlm_weight_use use;
  int32_t parts;
  int32_t interleave;
  struct {
    const void* data; /* little endian, may be unaligned */
    nvlm_dtype dtype;
    int64_t rows, cols; /* a vector has rows 1 */
    int64_t row_stride; /* elements between rows; cols when dense (dummy heads are dropped by a larger stride) */
  } part[NVLM_MAX_PARTS];
} nvlm_weight_source;

typedef struct nvlm_open_options {
  int32_t threads;             /* CPU: 0 = one per usable core */
  const char* instruction_set; /* NULL: best there is; else its name, unknown or unavailable is NVLM_UNSUPPORTED */
  int32_t device;              /* which GPU, from 0 */
} nvlm_open_options;

typedef struct nvlm_capabilities {
  const char* name;            /* "cpu", "reference", … */
  const char* instruction_set; /* "generic", "avx2", … */
  int32_t threads;
  nvlm_dtype activations; /* of tensors, key/value caches and image tokens */
  int32_t step_rows; /* decoder rows (or cross tokens) that one step takes at best; a program for more runs, but gains
                        nothing */
  uint64_t memory_free, memory_total; /* the device's own; 0: it uses the host's */
} nvlm_capabilities;

/* A device that a backend could open, or why it can't. */
typedef struct nvlm_device_description {
  char name[256];
  int32_t available;
  char reason[512]; /* why not, and the fix; empty when available */
  uint64_t memory_free, memory_total;
  int32_t compute_major, compute_minor; /* NVIDIA's compute capability */
  int32_t driver;                       /* newest CUDA version of the driver: 13000 is 13.0 */
} nvlm_device_description;

/* A picture and the grid of tiles it is resized to and cut into. Tiles: columns·rows, row-major, then the whole picture
 * as one more if `thumbnail`. */
typedef struct nvlm_picture {
  const uint8_t* rgb; /* host memory, u8 [height, width, 3] */
  int32_t width, height, columns, rows, side, thumbnail;
} nvlm_picture;

/* One backend. A device is used by one thread at a time. Functions with a device set last_error when they fail. */
typedef struct nvlm_backend {
  uint32_t version; /* NVLM_BACKEND_VERSION */
  const char* name;
  /* Devices that open could be given; `describe` takes their numbers, and number 0 even when there is none, to say why.
   */
  int32_t (*device_count)(void);
  void (*describe)(int32_t device, nvlm_device_description* out);
  nvlm_status (*open)(const nvlm_open_options* options, nvlm_device** device);
  void (*close)(nvlm_device* device); /* all plans, weights and memory must be freed before */
  void (*capabilities)(nvlm_device* device, nvlm_capabilities* out);
  nvlm_status (*alloc)(nvlm_device* device, uint64_t bytes,
                       void** memory); /* 64-byte aligned; mapped when large; contents undefined */
  void (*free)(nvlm_device* device, void* memory, uint64_t bytes);
  /* Copies; each side may be host memory or memory from alloc (arena tensors included). */
  nvlm_status (*write)(nvlm_device* device, void* to, const void* from, uint64_t bytes);
  nvlm_status (*read)(nvlm_device* device, void* to, const void* from, uint64_t bytes);
  /* Bytes upload_weight will take for such a source (data may be NULL). */
  uint64_t (*weight_bytes)(nvlm_device* device, const nvlm_weight_source* source);
  nvlm_status (*upload_weight)(nvlm_device* device, const nvlm_weight_source* source, nvlm_weight** weight);
  void (*free_weight)(nvlm_device* device, nvlm_weight* weight);
  /* Bytes that compile takes beside the arena (scratch of the ops, per thread); part of the memory plan. The program is
   * one that compile accepts, but weights, arena and caches may be NULL still. */
  uint64_t (*plan_bytes)(nvlm_device* device, const nvlm_program* program);
  nvlm_status (*compile)(nvlm_device* device, const nvlm_program* program,
                         nvlm_plan** plan); /* copies the program; checks every size */
  void (*free_plan)(nvlm_device* device, nvlm_plan* plan);
  /* *cancel != 0 stops between ops with NVLM_CANCELLED. Takes no memory. */
  nvlm_status (*run)(nvlm_device* device, nvlm_plan* plan, const nvlm_batch* batch, const volatile int32_t* cancel);
  nvlm_status (*wait)(nvlm_device* device);
  /* tiles, host memory, u8 [tiles, side, side, 3] = the picture resized (Pillow's bicubic, byte for byte) and cut.
   * NVLM_UNSUPPORTED and NVLM_OUT_OF_MEMORY leave it to the host. NULL: the host always does it. */
  nvlm_status (*cut_tiles)(nvlm_device* device, const nvlm_picture* picture, uint8_t* tiles);
  uint64_t (*used_bytes)(
      nvlm_device* device); /* measured: everything allocated through this device and not yet freed */
  const char* (*last_error)(nvlm_device* device); /* NULL: of this thread's last failed open, a sentence with its fix */
} nvlm_backend;

const nvlm_backend* nvlm_cpu_backend(void);       /* native/cpu */
const nvlm_backend* nvlm_reference_backend(void); /* native/reference: naive float32, one thread */
const nvlm_backend* nvlm_cuda_backend(void);      /* native/cuda: what its library exports; looked up by name */

#ifdef __cplusplus
}
#endif
#endif
