// linear, linear_gelu, linear_swiglu, linear_residual and logits for more than 4 rows: from the op to a product, and
// from the choice of gemm_plan.h to the kernel. The kernels: gemm_sm80.cuh, one file per tile.
#include "cuda/kernels/gemm.h"
#include "cuda/launchers.h"

namespace nvlm::gpu {
namespace {

Status launch_function(GemmFunction function, const Product& product, Stream stream) {
  switch (function) {
    case GemmFunction::sm80_128x256: return launch_sm80_128x256(product, stream);
    case GemmFunction::sm80_128x128: return launch_sm80_128x128(product, stream);
    case GemmFunction::sm80_64x128: return launch_sm80_64x128(product, stream);
    case GemmFunction::sm80_64x64: return launch_sm80_64x64(product, stream);
    case GemmFunction::sm80_32x64: return launch_sm80_32x64(product, stream);
    case GemmFunction::sm80_16x64: return launch_sm80_16x64(product, stream);
  }
  return Status::no_kernel;
}

Finish finish_of(nvlm_op op) {
  switch (op) {
    case NVLM_LINEAR_GELU: return Finish::gelu;
    case NVLM_LINEAR_SWIGLU: return Finish::swiglu;
    case NVLM_LINEAR_RESIDUAL: return Finish::residual;
    case NVLM_LOGITS: return Finish::floats;
    default: return Finish::store;
  }
}

// Depth, pitch and rows that the kernels index by.
bool shapes_agree(const Op& op) {
  const int64_t columns = op.record->op == NVLM_LINEAR_SWIGLU ? 2 * op.out_cols : op.out_cols;
  const int64_t scales = op.c().tanh_gate ? 1 : op.out_cols;
  constexpr int64_t kMost = int64_t{1} << 30;
  return op.in_rows == op.out_rows && op.in_cols == op.w->cols && op.w->rows == columns && op.in_cols % 8 == 0 &&
         op.w->pitch % 8 == 0 && op.w->pitch >= op.w->cols && (!op.bias || op.bias->cols == columns) &&
         (!op.scale || op.scale->cols >= scales) && (op.scale || !op.c().tanh_gate) && op.in_rows < kMost &&
         columns < kMost && op.in_cols < kMost;
}

}  // namespace

GemmDevice gemm_device(const DeviceInfo& device, const Workspace& workspace) {
  return {.capability = 10 * device.major + device.minor,
          .multiprocessors = device.multiprocessors,
          .shared_per_block = device.shared_per_block,
          .workspace_floats = workspace.float_count,
          .counters = workspace.counter_count};
}

Status enqueue_product(Product product, const GemmChoice& choice, const Workspace& workspace, Stream stream) {
  if (!choice.kernel) return Status::no_kernel;
  const GemmTile& t = choice.kernel->tile;
  const int64_t tiles = gemm_tiles(t, product.rows, product.columns);
  if (tiles > INT32_MAX) return Status::invalid;
  if (choice.splits > 1 &&
      (tiles > workspace.counter_count || tiles * choice.splits * t.m * t.n > workspace.float_count))
    return Status::invalid;
  product.splits = choice.splits;
  product.partials = workspace.floats;
  product.counters = workspace.counters;
  return launch_function(choice.kernel->function, product, stream);
}

Status enqueue_product(const Product& product, nvlm_op op, WeightFormat format, const DeviceInfo& device,
                       const Workspace& workspace, Stream stream) {
  const GemmProblem problem{op, format, product.rows, product.columns, product.depth};
  return enqueue_product(product, plan_gemm(problem, gemm_device(device, workspace)), workspace, stream);
}

WorkspaceNeed gemm_workspace(const DeviceInfo& device, int64_t rows, int64_t columns, int64_t depth) {
  const GemmWorkspace need = gemm_split_workspace(gemm_device(device, {}), rows, columns, depth);
  return {need.floats, need.counters};
}

namespace {

Product product_of(const Op& op) {
  return {.a = op.in,
          .b = op.w->matrix(),
          .a_pitch = op.in_cols,
          .b_pitch = op.w->pitch,
          .rows = static_cast<int32_t>(op.in_rows),
          .columns = static_cast<int32_t>(op.w->rows),
          .depth = static_cast<int32_t>(op.in_cols),
          .splits = 1,
          .partials = nullptr,
          .counters = nullptr,
          .epilogue = {.finish = finish_of(op.record->op),
                       .tanh_gate = op.c().tanh_gate != 0,
                       .patches = 1,
                       .out_columns = op.out_cols,
                       .out = op.out,
                       .bias = op.bias ? op.bias->vector() : nullptr,
                       .scale = op.scale ? op.scale->vector() : nullptr,
                       .positions = nullptr}};
}

}  // namespace

Status enqueue_gemm(const Op& op) {
  if (!shapes_agree(op)) return Status::invalid;
  if (op.in_rows == 0) return Status::ok;
  return enqueue_product(product_of(op), op.record->op, op.w->format, *op.device, *op.workspace, op.stream);
}

Status enqueue_gemm_as(const Op& op, const GemmChoice& choice) {
  if (!shapes_agree(op)) return Status::invalid;
  if (op.in_rows == 0) return Status::ok;
  return enqueue_product(product_of(op), choice, *op.workspace, op.stream);
}

}  // namespace nvlm::gpu
