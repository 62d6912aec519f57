// patch_embed (ops/ops.h; reference: reference/patch_embed.cc): pixels, u8 [tiles, side, side, 3] -> out [tiles *
// (patches + 1), n].
//
// Two launches: patch_rows makes the rows of a product in the workspace, bf16 [tiles * patches, depth], depth = 3 *
// patch * patch (channel, y, x) rounded up to 8 with zeros, and writes the class rows of `out`; then gemm_sm80 with
// bias and positions (Finish::positions) writes the others.
//
//   grid    pieces of 8 elements of all patch rows, then of all class rows, by 256
//   block   256 threads, a piece each: 16-byte stores, single bytes read through the first-level cache
//   shared  none
//   bound   memory: 0.6 MB of pixels to 1.2 MB of rows a tile, a hundredth of what the product reads and writes
//
// Rejected: patches gathered by the product's own copies (cp.async moves bytes as they are); a 3 x 256 table in place
// of the two divisions (the divisions are exact as the host's, and are hidden behind the loads).
#include "cuda/kernels/gemm.h"
#include "cuda/launchers.h"
#include "cuda/ptx/sm90.h"

namespace nvlm::gpu {
namespace {

constexpr uint32_t kThreads = 256;

struct PatchArgs {
  const uint8_t* pixels;
  bf16* rows;
  bf16* out;
  const float *class_token, *positions;
  int32_t side, patch, grid, depth;  // depth: with padding
  int32_t n;
  int64_t row_pieces, class_pieces;
};

// As cpu::normalised (cpu/normalise.h), to the bit.
__device__ __forceinline__ float normalised(uint8_t value, int32_t channel) {
  const float mean = channel == 0   ? 0.485f
                     : channel == 1 ? 0.456f
                                    : 0.406f,
              deviation = channel == 0   ? 0.229f
                          : channel == 1 ? 0.224f
                                         : 0.225f;
  return (static_cast<float>(value) / 255.0f - mean) / deviation;
}

__device__ __forceinline__ void patch_piece(const PatchArgs& a, int64_t piece) {
  const int32_t pieces = a.depth / 8, first = static_cast<int32_t>(piece % pieces) * 8, patches = a.grid * a.grid;
  const int64_t row = piece / pieces, tile = row / patches;
  const int32_t index = static_cast<int32_t>(row % patches), top = index / a.grid * a.patch,
                left = index % a.grid * a.patch;
  const uint8_t* corner = a.pixels + ((tile * a.side + top) * a.side + left) * 3;

  int32_t channel = first / (a.patch * a.patch), y = first / a.patch % a.patch, x = first % a.patch;
  uint32_t pairs[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    float values[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      values[half] = channel < 3 ? normalised(corner[(y * a.side + x) * 3 + channel], channel) : 0;
      const bool row_ends = ++x == a.patch;
      x = row_ends ? 0 : x;
      y += row_ends;
      const bool channel_ends = y == a.patch;
      y = channel_ends ? 0 : y;
      channel += channel_ends;
    }
    pairs[i] = ptx::round_pair(values[0], values[1]);
  }
  *reinterpret_cast<uint4*>(a.rows + piece * 8) = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

__device__ __forceinline__ void class_piece(const PatchArgs& a, int64_t piece) {
  const int32_t pieces = (a.n + 7) / 8, first = static_cast<int32_t>(piece % pieces) * 8;
  bf16* row = a.out + piece / pieces * (a.grid * a.grid + 1) * a.n;
#pragma unroll 1
  for (int32_t i = first; i < first + 8 && i < a.n; ++i) row[i] = to_bf16(a.class_token[i] + a.positions[i]);
}

__global__ void __launch_bounds__(kThreads) patch_rows(const __grid_constant__ PatchArgs a) {
  // This one begins when all before it has ended; the product behind it may ask for its weights meanwhile.
  ptx::let_next_launch_begin();
  const int64_t piece = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (piece < a.row_pieces) {
    patch_piece(a, piece);
  } else if (piece < a.row_pieces + a.class_pieces) {
    class_piece(a, piece - a.row_pieces);
  }
}

int64_t padded_depth(int64_t patch) { return (3 * patch * patch + 7) / 8 * 8; }

// Floats that the patch rows take of the workspace; what follows stays aligned to 16 bytes, since the depth is a
// multiple of 8.
int64_t row_floats(int64_t tiles, int64_t side, int64_t patch) {
  return tiles * (side / patch) * (side / patch) * padded_depth(patch) / 2;
}

}  // namespace

int64_t patch_embed_workspace(int64_t tiles, int32_t side, int32_t patch) { return row_floats(tiles, side, patch); }

Status enqueue_patch_embed(const Op& op) {
  const int32_t side = op.c().side, patch = op.c().patch;
  const int64_t tiles = op.batch->tiles, n = op.out_cols;
  constexpr int32_t kMostSide = 16384, kMostPatch = 1024;
  if (patch <= 0 || patch > kMostPatch || side <= 0 || side > kMostSide || side % patch) return Status::invalid;
  const int64_t grid = side / patch, patches = grid * grid, rows = tiles * patches, depth = padded_depth(patch),
                floats = row_floats(tiles, side, patch);
  if (tiles < 0 || op.out_rows != tiles * (patches + 1) || rows > INT32_MAX / 2 || op.w->rows != n ||
      op.w->cols != 3 * patch * patch || op.w->pitch != depth || !op.bias || op.bias->cols != n || !op.class_token ||
      op.class_token->cols != n || !op.positions || op.positions->cols * op.positions->rows != (patches + 1) * n ||
      op.workspace->float_count < floats) {
    return Status::invalid;
  }
  if (tiles == 0) return Status::ok;

  PatchArgs args{.pixels = op.batch->pixels,
                 .rows = reinterpret_cast<bf16*>(op.workspace->floats),
                 .out = op.out_bf16(),
                 .class_token = op.class_token->vector(),
                 .positions = op.positions->vector(),
                 .side = side,
                 .patch = patch,
                 .grid = static_cast<int32_t>(grid),
                 .depth = static_cast<int32_t>(depth),
                 .n = static_cast<int32_t>(n),
                 .row_pieces = rows * depth / 8,
                 .class_pieces = tiles * ((n + 7) / 8)};
  const int64_t blocks = (args.row_pieces + args.class_pieces + kThreads - 1) / kThreads;
  const Status status = launch(
      patch_rows,
      {.grid = dim3(static_cast<uint32_t>(blocks)), .block = dim3(kThreads), .shared = 0, .stream = op.stream}, args);
  if (status != Status::ok) return status;

  const Product product{.a = args.rows,
                        .b = op.w->matrix(),
                        .a_pitch = depth,
                        .b_pitch = depth,
                        .rows = static_cast<int32_t>(rows),
                        .columns = static_cast<int32_t>(n),
                        .depth = static_cast<int32_t>(depth),
                        .splits = 1,
                        .partials = nullptr,
                        .counters = nullptr,
                        .epilogue = {.finish = Finish::positions,
                                     .tanh_gate = false,
                                     .patches = static_cast<int32_t>(patches),
                                     .out_columns = n,
                                     .out = op.out,
                                     .bias = op.bias->vector(),
                                     .scale = nullptr,
                                     .positions = op.positions->vector()}};
  Workspace rest = *op.workspace;
  rest.floats += floats;
  rest.float_count -= floats;
  return enqueue_product(product, NVLM_PATCH_EMBED, op.w->format, *op.device, rest, op.stream);
}

}  // namespace nvlm::gpu
