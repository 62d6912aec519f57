#include "cuda/plan.h"

#include <algorithm>
#include <memory>

#include "cuda/weights.h"
#include "ops/cancel.h"
#include "ops/check_program.h"
#include "ops/op_info.h"
#include "ops/op_table.h"
#include "ops/packed_weight.h"

namespace nvlm::gpu {
namespace {

// Products with at most as many rows are bound by reading the weights: a thread block per few columns instead of tiles.
constexpr int64_t kGemvRows = 4;
// Steps with at most as many rows, one of each sequence, come again and again; so do the tiles of an encoder, which
// have no rows. Their launches become a graph.
constexpr int64_t kGraphRows = 16;
constexpr size_t kMostGraphs = 32;

using Enqueue = Status (*)(const Op&);

Status enqueue_product(const Op& op) { return op.in_rows <= kGemvRows ? enqueue_gemv(op) : enqueue_gemm(op); }

constexpr OpTable<Enqueue> kLaunchers = op_table<Enqueue>({
    {NVLM_PATCH_EMBED, enqueue_patch_embed},
    {NVLM_RMS_NORM, enqueue_rms_norm},
    {NVLM_LAYER_NORM, enqueue_layer_norm},
    {NVLM_QK_NORM, enqueue_qk_norm},
    {NVLM_LINEAR, enqueue_product},
    {NVLM_LINEAR_GELU, enqueue_product},
    {NVLM_LINEAR_SWIGLU, enqueue_product},
    {NVLM_LINEAR_RESIDUAL, enqueue_product},
    {NVLM_ROPE_KV_WRITE, enqueue_rope_kv_write},
    {NVLM_KV_WRITE, enqueue_kv_write},
    {NVLM_ATTENTION, enqueue_attention},
    {NVLM_PIXEL_SHUFFLE_NORM, enqueue_pixel_shuffle_norm},
    {NVLM_EMBED, enqueue_embed},
    {NVLM_GATHER_ROWS, enqueue_gather_rows},
    {NVLM_LOGITS, enqueue_product},
    {NVLM_SAMPLE, enqueue_sample},
});

int64_t most_rows(const nvlm_program& p, const nvlm_tensor& t) { return t.rows_each * p.max_count[t.extent]; }

// ---- Limits ----

BatchLimits limits_of(const nvlm_program& p) {
  BatchLimits m;
  m.tiles = p.max_count[NVLM_TILES];
  m.rows = p.max_count[NVLM_ROWS];
  m.outs = p.max_count[NVLM_OUTS];
  m.self_pages = p.max_self_pages;
  m.cross_pages = p.max_cross_pages;
  m.history = p.max_history;
  for (int32_t r = 0; r < p.record_count; ++r) {
    const nvlm_constants& c = p.records[r].c;
    if (p.records[r].op == NVLM_PATCH_EMBED) m.tile_bytes = int64_t{3} * c.side * c.side;
    if (p.records[r].op != NVLM_ATTENTION) continue;
    if (c.source == NVLM_KEYS_SELF) m.self_rows_per_tile = rows_per_tile(c.heads, c.kv_heads);
    if (c.source == NVLM_KEYS_CROSS) m.cross_rows_per_tile = rows_per_tile(c.heads, c.kv_heads);
  }
  return m;
}

WorkspaceNeed workspace_of(const DeviceInfo& info, const nvlm_program& p) {
  WorkspaceNeed need{0, 0};
  const auto at_least = [&](const WorkspaceNeed& n) {
    need.floats = std::max(need.floats, n.floats);
    need.counters = std::max(need.counters, n.counters);
  };
  for (int32_t i = 0; i < p.record_count; ++i) {
    const nvlm_record& r = p.records[i];
    if (is_product(r.op)) {
      const nvlm_tensor &in = p.tensors[r.in], &out = p.tensors[r.out];
      at_least(gemm_workspace(info, most_rows(p, in), r.op == NVLM_LINEAR_SWIGLU ? 2 * out.cols : out.cols, in.cols));
    }
    if (r.op == NVLM_PATCH_EMBED) {
      const int64_t patches = p.tensors[r.out].rows_each - 1;
      WorkspaceNeed product = gemm_workspace(info, p.max_count[NVLM_TILES] * patches, p.tensors[r.out].cols,
                                             int64_t{3} * r.c.patch * r.c.patch);
      product.floats += patch_embed_workspace(p.max_count[NVLM_TILES], r.c.side, r.c.patch);
      at_least(product);
    }
    if (r.op == NVLM_SAMPLE) at_least({sample_workspace(p.max_count[NVLM_OUTS], p.tensors[r.in].cols), 0});
    if (r.op == NVLM_ATTENTION)
      at_least(attention_workspace(info, most_rows(p, p.tensors[r.in]), r.c.heads, r.c.kv_heads, r.c.head_dim));
  }
  return need;
}

uint64_t workspace_bytes(const WorkspaceNeed& need) {
  return static_cast<uint64_t>(need.floats) * sizeof(float) + static_cast<uint64_t>(need.counters) * sizeof(uint32_t);
}

// What this backend asks beyond check_program: rows that 16-byte loads can read, bf16 activations, float32 logits.
std::string check_layout(const nvlm_program& p) {
  for (int32_t i = 0; i < p.record_count; ++i) {
    const nvlm_record& r = p.records[i];
    for (const int32_t t : {r.in, r.out}) {
      if (t < 0) continue;
      const bool logits = is_logits(r, t);
      const nvlm_tensor& tensor = p.tensors[t];
      const std::string place = "record " + std::to_string(i) + " of program '" + p.name + "': ";
      if (tensor.dtype != (logits ? NVLM_F32 : NVLM_BF16))
        return place + "activations are bf16 on this device, and logits float32";
      if (!logits && tensor.cols % 8)
        return place + "rows of " + std::to_string(tensor.cols) +
               " values; on this device they must be a multiple of 8";
      if (tensor.offset % 16) return place + "a tensor is not aligned to 16 bytes";
    }
  }
  return {};
}

// ---- One step ----

// The launches of a step, in order.
class Step {
 public:
  Step(const nvlm_plan& plan, const DeviceBatch& batch, const volatile int32_t* cancel)
      : plan_(plan), batch_(batch), cancel_(cancel) {}

  // Stops between records; `cancelled` tells why.
  Status enqueue() {
    for (size_t i = 0; i < plan_.records.size();) {
      if (nvlm::cancelled(cancel_)) {
        cancelled = true;
        return Status::ok;
      }
      const size_t fused = enqueue_fused(i);
      if (fused == 0) last_ = enqueue_one(i);
      if (last_ != Status::ok) {
        failed = i;
        return last_;
      }
      i += std::max<size_t>(fused, 1);
    }
    return Status::ok;
  }

  bool cancelled = false;
  size_t failed = 0;

 private:
  Status enqueue_one(size_t i) {
    const Op op = resolve(plan_.records[i]);
    // Nothing to do, and a launch of no blocks is an error.
    if (rows_of(plan_.records[i]) == 0) return Status::ok;
    return kLaunchers[op.record->op](op);
  }

  // A norm and what follows it, as one launch: how many records that were, 0 when it is not the case.
  size_t enqueue_fused(size_t i) {
    const std::vector<nvlm_record>& r = plan_.records;
    if (!is_norm(r[i].op) || i + 1 >= r.size() || !is_product(r[i + 1].op) || r[i + 1].in != r[i].out ||
        used_after(r[i].out, i + 2))
      return 0;
    if (rows_of(r[i]) == 0 || rows_of(r[i]) > kGemvRows) return 0;
    const Op norm = resolve(r[i]), linear = resolve(r[i + 1]);
    if (i + 2 < r.size() && r[i + 2].op == NVLM_ROPE_KV_WRITE && r[i + 2].out == r[i + 1].out) {
      const Op rope = resolve(r[i + 2]);
      if (can_norm_qkv_rope_write(norm, linear, rope)) {
        last_ = enqueue_norm_qkv_rope_write(norm, linear, rope);
        return 3;
      }
    }
    if (!can_norm_gemv(norm, linear)) return 0;
    last_ = enqueue_norm_gemv(norm, linear);
    return 2;
  }

  bool used_after(int32_t tensor, size_t from) const {
    return std::any_of(plan_.records.begin() + static_cast<std::ptrdiff_t>(from), plan_.records.end(),
                       [tensor](const nvlm_record& r) { return r.in == tensor; });
  }

  int64_t count(nvlm_extent extent) const {
    return extent == NVLM_TILES ? batch_.tiles : extent == NVLM_ROWS ? batch_.rows : batch_.outs;
  }
  int64_t rows_of(const nvlm_record& r) const {
    const nvlm_tensor& t = plan_.tensors[static_cast<size_t>(r.out >= 0 ? r.out : r.in)];
    return t.rows_each * count(t.extent);
  }

  const DeviceWeight* weight(int32_t w) const { return w < 0 ? nullptr : &plan_.weights[static_cast<size_t>(w)]; }

  Op resolve(const nvlm_record& r) const {
    Op op{};
    op.record = &r;
    auto* arena = static_cast<unsigned char*>(plan_.program.arena);
    if (r.in >= 0) {
      const nvlm_tensor& t = plan_.tensors[static_cast<size_t>(r.in)];
      op.in = reinterpret_cast<const bf16*>(arena + t.offset);
      op.in_rows = t.rows_each * count(t.extent);
      op.in_cols = t.cols;
    }
    if (r.out >= 0) {
      const nvlm_tensor& t = plan_.tensors[static_cast<size_t>(r.out)];
      op.out = arena + t.offset;
      op.out_rows = t.rows_each * count(t.extent);
      op.out_cols = t.cols;
    }
    op.w = weight(r.w);
    op.bias = weight(r.bias);
    op.scale = weight(r.scale);
    op.q_norm = weight(r.q_norm);
    op.k_norm = weight(r.k_norm);
    op.class_token = weight(r.class_token);
    op.positions = weight(r.positions);
    op.self_kv = cache(plan_.program.self_kv);
    op.cross_kv = cache(plan_.program.cross_kv);
    op.batch = &batch_;
    op.workspace = &plan_.workspace;
    op.device = &plan_.device->info;
    op.stream = plan_.device->stream;
    return op;
  }

  static KvCache cache(const nvlm_kv_cache& kv) {
    return {static_cast<bf16*>(kv.memory), kv.layers, kv.pages, kv.kv_heads, kv.head_dim};
  }

  const nvlm_plan& plan_;
  const DeviceBatch& batch_;
  const volatile int32_t* cancel_;
  Status last_ = Status::ok;
};

nvlm_status step_status(nvlm_device* device, const nvlm_plan& plan, Status status, const Step& step) {
  if (status == Status::ok) return step.cancelled ? NVLM_CANCELLED : NVLM_OK;
  return device->check(status, ("running record " + std::to_string(step.failed) + " of '" + plan.name + "'").c_str());
}

// Runs the step as a graph, which is recorded when a step of this shape comes the second time: the first time its
// kernels are loaded, which the driver may not do while it records, and a shape that never comes again costs no graph.
nvlm_status run_recorded(nvlm_device* device, nvlm_plan* plan, const StepShape& shape, const DeviceBatch& batch) {
  Graph& graph = plan->graphs.at(shape).graph;
  if (!graph) {
    if (const Status status = begin_capture(device->stream); status != Status::ok)
      return device->check(status, "recording a graph");
    Step step(*plan, batch, nullptr);
    const Status enqueued = step.enqueue();
    Graph recorded = nullptr;
    const Status ended = end_capture(device->stream, &recorded);
    if (enqueued != Status::ok) {
      if (ended == Status::ok) destroy_graph(recorded);
      return step_status(device, *plan, enqueued, step);
    }
    if (ended != Status::ok) return device->check(ended, "making a graph");
    graph = recorded;
  }
  return device->check(gpu::run_graph(graph, device->stream), "running a graph");
}

// Whether a step of this shape was here before; from now on it was. The shape that has not come for the longest time
// makes room for a new one.
bool comes_again(nvlm_plan* plan, const StepShape& shape) {
  auto& graphs = plan->graphs;
  const auto found = graphs.find(shape);
  const bool again = found != graphs.end();
  if (!again && graphs.size() == kMostGraphs) {
    const auto oldest = std::min_element(graphs.begin(), graphs.end(), [](const auto& a, const auto& b) {
      return a.second.last_step < b.second.last_step;
    });
    if (oldest->second.graph) destroy_graph(oldest->second.graph);
    graphs.erase(oldest);
  }
  graphs[shape].last_step = ++plan->steps;
  return again;
}

}  // namespace

uint64_t plan_bytes(const nvlm_device& device, const nvlm_program& program) {
  return BatchBlock::bytes(limits_of(program)) + workspace_bytes(workspace_of(device.info, program));
}

nvlm_status compile(nvlm_device* device, const nvlm_program* program, nvlm_plan** out) {
  std::string wrong = check_program(*program);
  if (wrong.empty()) wrong = check_layout(*program);
  if (!wrong.empty()) return device->refuse(NVLM_INVALID, std::move(wrong));
  auto plan = std::make_unique<nvlm_plan>(device, *program);
  for (const nvlm_weight* w : plan->packed)
    plan->weights.push_back({w->use, w->interleaved, w->rows, w->cols, pitch_of(w->cols), w->data});
  plan->limits = limits_of(*program);
  const WorkspaceNeed need = workspace_of(device->info, *program);
  if (const nvlm_status status = device->take(BatchBlock::bytes(plan->limits), &plan->block_memory); status != NVLM_OK)
    return status;
  if (const nvlm_status status = device->take(workspace_bytes(need), &plan->workspace_memory); status != NVLM_OK)
    return status;
  auto* floats = static_cast<float*>(plan->workspace_memory);
  plan->workspace = {floats, need.floats, reinterpret_cast<uint32_t*>(floats + need.floats), need.counters};
  Status status =
      fill(plan->workspace.counters, 0, static_cast<uint64_t>(need.counters) * sizeof(uint32_t), device->stream);
  if (status == Status::ok) status = plan->block.open(plan->limits, plan->block_memory, device->stream);
  if (status != Status::ok) return device->check(status, "preparing a plan");
  *out = plan.release();
  return NVLM_OK;
}

nvlm_status run(nvlm_device* device, nvlm_plan* plan, const nvlm_batch* batch, const volatile int32_t* cancel) {
  std::string wrong = check_batch(plan->program, *batch);
  if (wrong.empty()) wrong = BatchBlock::excess(plan->limits, *batch);
  if (!wrong.empty()) return device->refuse(NVLM_INVALID, std::move(wrong));
  if (nvlm::cancelled(cancel)) return NVLM_CANCELLED;
  DeviceBatch step_batch;
  if (const Status status = plan->block.upload(*batch, &step_batch); status != Status::ok)
    return device->check(status, "sending a batch");
  const StepShape shape{step_batch.tiles, step_batch.rows, step_batch.outs, step_batch.sampled != nullptr};
  if (step_batch.one_row_each && step_batch.rows <= kGraphRows && comes_again(plan, shape)) {
    if (const nvlm_status status = run_recorded(device, plan, shape, step_batch); status != NVLM_OK) return status;
  } else {
    Step step(*plan, step_batch, cancel);
    if (const nvlm_status status = step_status(device, *plan, step.enqueue(), step); status != NVLM_OK) return status;
  }
  plan->wanted = batch->sampled;
  plan->wanted_count = batch->sampled ? batch->outs : 0;
  if (plan->wanted_count == 0) return NVLM_OK;
  return device->check(plan->block.download(plan->wanted_count), "fetching what was sampled");
}

void finish(nvlm_plan* plan) {
  std::copy_n(plan->block.sampled(), plan->wanted_count, plan->wanted);
  plan->wanted_count = 0;
}

}  // namespace nvlm::gpu

nvlm_plan::~nvlm_plan() {
  nvlm::gpu::wait(device->stream);
  for (const auto& [shape, step] : graphs) {
    if (step.graph) nvlm::gpu::destroy_graph(step.graph);
  }
  device->give(workspace_memory);
  device->give(block_memory);
}
