// Whatever a program or batch says that would lead outside of memory is refused with NVLM_INVALID and a message that
// names it, and nothing is written.
#include "cases/cases.h"
#include "support/check.h"

namespace nvlm::test {
namespace {

void refused(nvlm_status status, const std::string& error, const std::string& fragment) {
  check(status == NVLM_INVALID, "refused because of " + fragment + ", status " + std::to_string(status));
  check(error.find(fragment) != std::string::npos, "the message names '" + fragment + "': " + error);
}

// By compile.
void refused(const Device& device, const OpCase& c, const std::string& fragment) {
  const Loaded loaded(device, c);
  refused(loaded.status, loaded.error, fragment);
}

template <typename Change>
void refused(const Device& device, OpCase c, const std::string& fragment, Change change) {
  change(c);
  refused(device, c, fragment);
}

// By run.
template <typename Change>
void refused_batch(const Device& device, OpCase c, const std::string& fragment, Change change) {
  change(c);
  const Outcome o = run_case(device, c);
  refused(o.status, o.error, fragment);
}

OpCase first_named(const std::vector<OpCase>& cases, const std::string& start) {
  for (const OpCase& c : cases) {
    if (c.name.rfind(start, 0) == 0) return c;
  }
  check(false, "there is a case named " + start);
  return {};
}

OpCase sample_case() {
  OpCase c;
  c.name = "sample";
  c.batch.outs = 1;
  c.record.op = NVLM_SAMPLE;
  c.record.in = c.add(Tensor{NVLM_OUTS, 1, 8, std::vector<float>(8, 1.0f)});
  return c;
}

void batches(const Device& device) {
  const OpCase causal = causal_attention_case({{70, 3}, {10, 10}}, 2, 1, 16);
  equal(run_case(device, causal).status, NVLM_OK, "the unchanged batch runs");
  refused_batch(device, causal, "the key interval of row 2", [](OpCase& c) { c.batch.self_end[2] = 71; });
  refused_batch(device, causal, "the key interval of row 1", [](OpCase& c) { c.batch.self_begin[1] = -1; });
  refused_batch(device, causal, "the key interval of row 4",
                [](OpCase& c) { c.batch.self_begin[4] = c.batch.self_end[4] + 1; });
  refused_batch(device, causal, "a page of the sequence of row 0",
                [](OpCase& c) { c.batch.self_pages.page[1] = c.self_kv.pages; });
  refused_batch(device, causal, "a page of the sequence of row 1", [](OpCase& c) { c.batch.self_pages.page[2] = -1; });
  refused_batch(device, causal, "a page of the sequence of row 0", [](OpCase& c) { c.batch.self_pages.fill[0] = 65; });
  refused_batch(device, causal, "the page list", [](OpCase& c) { c.batch.self_pages.begin[1] = -1; });
  refused_batch(device, causal, "the page list", [](OpCase& c) { c.batch.self_pages.begin[0] = -1; });
  refused_batch(device, causal, "do not cover its rows", [](OpCase& c) { c.batch.row_begin[2] = 14; });
  refused_batch(device, causal, "do not cover its rows", [](OpCase& c) { c.batch.row_begin[1] = 14; });
  refused_batch(device, causal, "do not cover its rows", [](OpCase& c) { c.batch.row_begin.resize(1); });

  const OpCase rope = first_named(kv_write_cases(), "rope_kv_write 67");
  refused_batch(device, rope, "the kv slot of row 3",
                [](OpCase& c) { c.batch.kv_slot[3] = int64_t{c.self_kv.pages} * NVLM_PAGE_KEYS; });
  refused_batch(device, rope, "the kv slot of row 0", [](OpCase& c) { c.batch.kv_slot[0] = -1; });
  refused_batch(device, rope, "the position of row 66", [](OpCase& c) { c.batch.position[66] = -1; });
  const OpCase cross = first_named(kv_write_cases(), "kv_write 65");
  refused_batch(device, cross, "the kv slot of row 64", [](OpCase& c) { c.batch.kv_slot[64] = int64_t{1} << 62; });

  const OpCase odd = first_named(attention_cases(), "attention odd cross");
  refused_batch(device, odd, "the key interval of row 0", [](OpCase& c) { c.batch.cross_end[0] = 133; });
  refused_batch(device, odd, "a page of the sequence of row 0", [](OpCase& c) { c.batch.cross_pages.fill[1] = -1; });
  refused_batch(device, odd, "the page list of the sequence of row 1",
                [](OpCase& c) { c.batch.cross_pages.begin[2] = 3; });
  refused_batch(device, odd, "do not cover its rows", [](OpCase& c) { c.batch.row_begin[0] = 1; });

  const OpCase embed = first_named(embed_cases(), "embed 50 of 31x37 f32 with");
  refused_batch(device, embed, "the token of row 6", [](OpCase& c) { c.batch.token[6] = 31; });
  refused_batch(device, embed, "the token of row 6", [](OpCase& c) { c.batch.token[6] = -1; });
  const OpCase gather = first_named(embed_cases(), "gather_rows 3");
  refused_batch(device, gather, "out row 1", [](OpCase& c) { c.batch.out_row[1] = 5; });
  refused_batch(device, gather, "out row 2", [](OpCase& c) { c.batch.out_row[2] = -1; });
  refused_batch(device, first_named(patch_embed_cases(), "patch_embed"), "no pixels",
                [](OpCase& c) { c.batch.pixels = std::vector<uint8_t>(); });
  const OpCase sample = sample_case();
  Loaded loaded(device, sample);
  nvlm_sampled sampled;
  equal(loaded.run(sample.batch.view(&sampled)), NVLM_INVALID, "no sampling options");
}

void too_large(const Device& device) {
  const OpCase linear = linear_case(NVLM_LINEAR, 3, 8, 8, NVLM_F32);
  Loaded loaded(device, linear);
  nvlm_batch batch = linear.batch.view(nullptr);
  batch.rows = 5;  // compiled for 4
  equal(loaded.run(batch), NVLM_INVALID, "more rows than the plan has");
  for (int64_t nvlm_batch::*count : {&nvlm_batch::tiles, &nvlm_batch::rows, &nvlm_batch::outs}) {
    batch = linear.batch.view(nullptr);
    batch.*count = -1;
    equal(loaded.run(batch), NVLM_INVALID, "a negative count");
    batch.*count = linear.batch.*(count == &nvlm_batch::tiles  ? &Batch::tiles
                                  : count == &nvlm_batch::rows ? &Batch::rows
                                                               : &Batch::outs) +
                   2;
    equal(loaded.run(batch), NVLM_INVALID, "one more than the plan has");
  }
}

// One tensor as it is; the runner's own lie where they should.
void tensors(const Device& device) {
  const nvlm_record record = sample_case().record;
  alignas(64) float arena[16];
  const auto compiles = [&](const nvlm_tensor& tensor) -> std::string {
    nvlm_program p{};
    p.name = "tensors";
    p.records = &record;
    p.record_count = 1;
    p.tensors = &tensor;
    p.tensor_count = 1;
    for (int64_t& count : p.max_count) count = 2;
    p.arena_bytes = sizeof arena;
    p.arena = arena;
    nvlm_plan* plan = nullptr;
    const nvlm_status status = device.table().compile(device.handle(), &p, &plan);
    if (status == NVLM_OK) device.table().free_plan(device.handle(), plan);
    return status == NVLM_OK ? "" : device.table().last_error(device.handle());
  };
  check(compiles({NVLM_OUTS, 1, 8, 0, NVLM_F32}).empty(), "a tensor as large as the arena compiles");
  const std::pair<nvlm_tensor, const char*> wrong[] = {
      {{static_cast<nvlm_extent>(NVLM_EXTENT_COUNT), 1, 1, 0, NVLM_F32}, "impossible shape"},
      {{NVLM_OUTS, 0, 8, 0, NVLM_F32}, "impossible shape"},
      {{NVLM_OUTS, 1, 0, 0, NVLM_F32}, "impossible shape"},
      {{NVLM_OUTS, 1, 9, 0, NVLM_F32}, "outside of the arena"},
      {{NVLM_OUTS, 1, 8, 4, NVLM_F32}, "outside of the arena"},
      {{NVLM_OUTS, int64_t{1} << 40, int64_t{1} << 40, 0, NVLM_F32}, "outside of the arena"},
      {{NVLM_OUTS, 1, 1, ~uint64_t{0} - 3, NVLM_F32}, "outside of the arena"},
      {{NVLM_OUTS, 1, 1, 2, NVLM_F32}, "not aligned"},
      {{NVLM_ROWS, 1, 8, 0, NVLM_F32}, "samples out rows"},
      {{NVLM_OUTS, 2, 4, 0, NVLM_F32}, "samples out rows"}};
  for (const auto& [tensor, fragment] : wrong)
    check(compiles(tensor).find(fragment) != std::string::npos,
          std::string("refused: ") + fragment + ": " + compiles(tensor));
}

// Weights of one element, which fit nothing here.
int32_t vector_of_one(OpCase& c) { return c.add(vector_weight({1})); }

void linear_programs(const Device& device) {
  const OpCase linear = linear_case(NVLM_LINEAR, 3, 8, 8, NVLM_F32, "bias");
  refused(device, linear, "the input is missing", [](OpCase& c) { c.record.in = 7; });
  refused(device, linear, "the input is missing", [](OpCase& c) { c.record.in = -1; });
  refused(device, linear, "the output is missing", [](OpCase& c) { c.record.out = -1; });
  refused(device, linear, "the matrix does not fit", [](OpCase& c) { c.record.w = 9; });
  refused(device, linear, "the matrix does not fit", [](OpCase& c) { c.record.w = -1; });
  refused(device, linear, "the matrix does not fit", [](OpCase& c) { c.record.w = c.record.bias; });
  refused(device, linear, "the matrix does not fit", [](OpCase& c) { c.weights[0].use = NVLM_TABLE; });
  refused(device, linear, "the matrix does not fit", [](OpCase& c) { c.tensors[0].cols = 9; });
  refused(device, linear, "the matrix does not fit", [](OpCase& c) { c.tensors[1].cols = 7; });
  refused(device, linear, "the bias does not fit", [](OpCase& c) { c.record.bias = c.record.w; });
  refused(device, linear, "the bias does not fit", [](OpCase& c) { c.record.bias = vector_of_one(c); });
  refused(device, linear, "differ in rows", [](OpCase& c) { c.tensors[1].extent = NVLM_OUTS; });
  refused(device, linear, "differ in rows", [](OpCase& c) { c.tensors[1].rows_each = 2; });
  refused(device, linear, "input and output must differ", [](OpCase& c) { c.record.out = c.record.in; });
  refused(device, linear, "unknown op", [](OpCase& c) { c.record.op = NVLM_OP_COUNT; });
  refused(device, linear, "interleaved", [](OpCase& c) { c.record.op = NVLM_LINEAR_SWIGLU; });
  const OpCase swiglu = linear_case(NVLM_LINEAR_SWIGLU, 3, 8, 8, NVLM_BF16);
  refused(device, swiglu, "interleaved", [](OpCase& c) { c.record.op = NVLM_LINEAR; });
  refused(device, swiglu, "the matrix does not fit", [](OpCase& c) { c.tensors[1].cols = 16; });
  refused(device, linear_case(NVLM_LINEAR_SWIGLU, 3, 8, 8, NVLM_BF16, "bias"), "no bias");
  refused(device, linear_case(NVLM_LINEAR_RESIDUAL, 3, 8, 8, NVLM_F32, "scale"), "the scale does not fit",
          [](OpCase& c) { c.record.c.tanh_gate = 1; });
  refused(device, linear_case(NVLM_LINEAR_RESIDUAL, 3, 8, 8, NVLM_F32, "gate"), "the scale does not fit",
          [](OpCase& c) { c.record.c.tanh_gate = 0; });
  refused(device, linear_case(NVLM_LINEAR_RESIDUAL, 3, 8, 8, NVLM_F32, "gate"), "the scale does not fit",
          [](OpCase& c) { c.record.scale = -1; });
}

void attention_programs(const Device& device) {
  const OpCase causal = causal_attention_case({{70, 3}}, 2, 1, 16);
  refused(device, causal, "no such layer", [](OpCase& c) { c.record.c.layer = 2; });
  refused(device, causal, "no such layer", [](OpCase& c) { c.record.c.layer = -1; });
  refused(device, causal, "multiple of 8", [](OpCase& c) { c.record.c.head_dim = 12; });
  refused(device, causal, "multiple of 8", [](OpCase& c) { c.record.c.head_dim = 0; });
  refused(device, causal, "multiple of 8", [](OpCase& c) { c.record.c.head_dim = 8192; });
  refused(device, causal, "multiple of 8", [](OpCase& c) { c.record.c.kv_heads = 0; });
  refused(device, causal, "multiple of kv_heads", [](OpCase& c) { c.record.c.kv_heads = 3; });
  refused(device, causal, "multiple of kv_heads", [](OpCase& c) { c.record.c.heads = 0; });
  refused(device, causal, "multiple of kv_heads", [](OpCase& c) { c.record.c.heads = 1 << 17; });
  refused(device, causal, "multiple of 8", [](OpCase& c) { c.record.c.heads = c.record.c.kv_heads = 1 << 17; });
  refused(device, causal, "queries do not fit", [](OpCase& c) { c.record.c.heads = 3; });
  refused(device, causal, "queries do not fit", [](OpCase& c) { c.tensors[0].cols = 31; });
  refused(device, causal, "input and output must differ", [](OpCase& c) { c.record.out = c.record.in; });
  refused(device, causal, "differ in rows", [](OpCase& c) { c.tensors[1].extent = NVLM_OUTS; });
  refused(device, causal, "the key/value cache does not fit", [](OpCase& c) { c.self_kv.layers = 0; });  // no memory
  refused(device, causal, "the key/value cache does not fit",
          [](OpCase& c) { c.self_kv.pages = 0, c.self_kv.data.clear(); });
  refused(device, causal, "the key/value cache does not fit", [](OpCase& c) { c.record.c.kv_heads = 2; });
  refused(device, causal, "the key/value cache does not fit",
          [](OpCase& c) { c.record.c.heads = 4, c.record.c.head_dim = 8; });
  refused(device, causal, "the key/value cache does not fit", [](OpCase& c) { c.record.c.source = NVLM_KEYS_CROSS; });
  refused(device, causal, "unknown source", [](OpCase& c) { c.record.c.source = static_cast<nvlm_key_source>(3); });
  const OpCase tile = tile_attention_case(1, 4, 2, 8);
  refused(device, tile, "a tile's rows", [](OpCase& c) { c.record.c.rows_each = 5; });
  refused(device, tile, "[q|k|v]", [](OpCase& c) { c.record.c.kv_heads = 1; });
  refused(device, tile, "[q|k|v]", [](OpCase& c) { c.tensors[0].cols = 47; });
  refused(device, tile, "a tile's rows", [](OpCase& c) { c.tensors[0].extent = c.tensors[1].extent = NVLM_ROWS; });

  const OpCase rope = first_named(kv_write_cases(), "rope_kv_write 67"),
               cross = first_named(kv_write_cases(), "kv_write 65");
  refused(device, rope, "[q|k|v]", [](OpCase& c) { c.tensors[0].cols += 1; });
  refused(device, rope, "[q|k|v]", [](OpCase& c) { c.tensors[0].extent = NVLM_OUTS; });
  refused(device, rope, "multiple of 8", [](OpCase& c) { c.record.c.head_dim = 4; });
  refused(device, rope, "no such layer", [](OpCase& c) { c.record.c.layer = 3; });
  refused(device, cross, "[k|v]", [](OpCase& c) { c.tensors[0].cols += 1; });
  refused(device, cross, "[k|v]", [](OpCase& c) { c.tensors[0].extent = NVLM_OUTS; });
  refused(device, cross, "multiple of 8", [](OpCase& c) { c.record.c.head_dim = 4; });
  refused(device, cross, "no such layer", [](OpCase& c) { c.record.c.layer = 2; });
}

void other_programs(const Device& device) {
  const OpCase rms = first_named(norm_cases(), "rms_norm 3x9"), layer = first_named(norm_cases(), "layer_norm 3x9"),
               qk = first_named(norm_cases(), "qk_norm 3x3x9");
  refused(device, rms, "input and output differ", [](OpCase& c) { c.tensors[1].cols = 8; });
  refused(device, rms, "input and output differ", [](OpCase& c) { c.record.out = c.record.in; });
  refused(device, rms, "differ in rows", [](OpCase& c) { c.tensors[1].extent = NVLM_OUTS; });
  refused(device, rms, "the norm's weight", [](OpCase& c) { c.record.w = vector_of_one(c); });
  refused(device, layer, "the norm's bias", [](OpCase& c) { c.record.bias = vector_of_one(c); });
  refused(device, layer, "the norm's bias", [](OpCase& c) { c.record.bias = -1; });
  refused(device, qk, "[q|k|v]", [](OpCase& c) { c.tensors[0].cols = 28; });
  refused(device, qk, "[q|k|v]", [](OpCase& c) { c.record.c.true_width = -1; });
  refused(device, qk, "the query norm", [](OpCase& c) { c.record.q_norm = vector_of_one(c); });
  refused(device, qk, "the key norm", [](OpCase& c) { c.record.k_norm = vector_of_one(c); });

  const OpCase patch = first_named(patch_embed_cases(), "patch_embed");
  refused(device, patch, "multiple of patch", [](OpCase& c) { c.record.c.patch = 3; });
  refused(device, patch, "multiple of patch", [](OpCase& c) { c.record.c.patch = 0; });
  refused(device, patch, "multiple of patch", [](OpCase& c) { c.record.c.side = 0; });
  refused(device, patch, "multiple of patch", [](OpCase& c) { c.record.c.side = 1 << 17; });
  refused(device, patch, "does not fit the patches", [](OpCase& c) { c.tensors[0].rows_each = 3; });
  refused(device, patch, "does not fit the patches", [](OpCase& c) { c.tensors[0].extent = NVLM_ROWS; });
  refused(device, patch, "the patch kernel", [](OpCase& c) { c.record.w = c.record.positions; });
  refused(device, patch, "the bias", [](OpCase& c) { c.record.bias = c.record.positions; });
  refused(device, patch, "the class token", [](OpCase& c) { c.record.class_token = c.record.positions; });
  refused(device, patch, "the positions", [](OpCase& c) { c.record.positions = c.record.bias; });

  const OpCase shuffle = first_named(pixel_shuffle_cases(), "pixel_shuffle_norm");
  refused(device, shuffle, "multiple of ratio", [](OpCase& c) { c.record.c.ratio = 3; });
  refused(device, shuffle, "multiple of ratio", [](OpCase& c) { c.record.c.ratio = 0; });
  refused(device, shuffle, "multiple of ratio", [](OpCase& c) { c.record.c.grid = 0; });
  refused(device, shuffle, "multiple of ratio", [](OpCase& c) { c.record.c.grid = 1 << 17; });
  refused(device, shuffle, "the input does not fit the grid", [](OpCase& c) { c.tensors[0].rows_each -= 1; });
  refused(device, shuffle, "the input does not fit the grid", [](OpCase& c) { c.tensors[0].extent = NVLM_ROWS; });
  refused(device, shuffle, "the output does not fit the grid", [](OpCase& c) { c.tensors[1].rows_each += 1; });
  refused(device, shuffle, "the output does not fit the grid", [](OpCase& c) { c.tensors[1].cols += 1; });
  refused(device, shuffle, "the output does not fit the grid", [](OpCase& c) { c.tensors[1].extent = NVLM_ROWS; });
  refused(device, shuffle, "the norm's weight", [](OpCase& c) { c.record.w = vector_of_one(c); });
  refused(device, shuffle, "the norm's bias", [](OpCase& c) { c.record.bias = vector_of_one(c); });

  const OpCase embed = first_named(embed_cases(), "embed 50"), gather = first_named(embed_cases(), "gather_rows 3");
  refused(device, embed, "a row for each row", [](OpCase& c) { c.tensors[0].rows_each = 2; });
  refused(device, embed, "a row for each row", [](OpCase& c) { c.tensors[0].extent = NVLM_TILES; });
  refused(device, embed, "the table is missing", [](OpCase& c) { c.record.w = -1; });
  refused(device, embed, "the table is missing", [](OpCase& c) { c.record.w = 9; });
  refused(device, embed, "the table does not fit", [](OpCase& c) { c.tensors[0].cols -= 1; });
  refused(device, embed, "the table does not fit", [](OpCase& c) { c.record.w = vector_of_one(c); });
  refused(device, embed, "the table does not fit", [](OpCase& c) {
    Random random("a gate and its up rows as a table");
    c.record.w = c.add(matrix_weight(random, NVLM_MATRIX, {31, 31}, c.tensors[0].cols, NVLM_F32, true));
  });
  refused(device, gather, "gathers batch rows", [](OpCase& c) { c.tensors[0].extent = NVLM_TILES; });
  refused(device, gather, "gathers batch rows", [](OpCase& c) { c.tensors[1].extent = NVLM_ROWS; });
  refused(device, gather, "gathers batch rows", [](OpCase& c) { c.tensors[0].rows_each = 2; });
  refused(device, gather, "gathers batch rows", [](OpCase& c) { c.tensors[1].rows_each = 2; });
  refused(device, gather, "input and output differ", [](OpCase& c) { c.tensors[1].cols -= 1; });
}

}  // namespace

void test_rejections(const Device& device) {
  run("batches refused by " + device.name(), [&] { batches(device); });
  run("batches larger than their plan on " + device.name(), [&] { too_large(device); });
  run("tensors refused by " + device.name(), [&] { tensors(device); });
  run("linear ops refused by " + device.name(), [&] { linear_programs(device); });
  run("attention and cache ops refused by " + device.name(), [&] { attention_programs(device); });
  run("other ops refused by " + device.name(), [&] { other_programs(device); });
}

}  // namespace nvlm::test
