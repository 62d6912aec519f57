// Whatever a program or batch says that would lead outside of memory is refused with NVLM_INVALID and a message that names it, and nothing is written.
#include "cases/cases.h"
#include "support/check.h"

namespace nvlm::test {
namespace {

void refused(const Device& device, const OpCase& c, const std::string& fragment) {
  const Outcome o = run_case(device, c);
  check(o.status == NVLM_INVALID, "refused because of " + fragment + ", status " + std::to_string(o.status));
  check(o.error.find(fragment) != std::string::npos, "the message names '" + fragment + "': " + o.error);
}

template <typename Change>
void refused(const Device& device, OpCase c, const std::string& fragment, Change change) {
  change(c);
  refused(device, c, fragment);
}

OpCase first_named(const std::vector<OpCase>& cases, const std::string& start) {
  for (const OpCase& c : cases) {
    if (c.name.rfind(start, 0) == 0) return c;
  }
  check(false, "there is a case named " + start);
  return {};
}

void batches(const Device& device) {
  const OpCase causal = causal_attention_case({{70, 3}, {10, 10}}, 2, 1, 16);
  equal(run_case(device, causal).status, NVLM_OK, "the unchanged batch runs");
  refused(device, causal, "the key interval of row 2", [](OpCase& c) { c.batch.self_end[2] = 71; });
  refused(device, causal, "the key interval of row 1", [](OpCase& c) { c.batch.self_begin[1] = -1; });
  refused(device, causal, "the key interval of row 4", [](OpCase& c) { c.batch.self_begin[4] = c.batch.self_end[4] + 1; });
  refused(device, causal, "a page of the sequence of row 0", [](OpCase& c) { c.batch.self_pages.page[1] = c.self_kv.pages; });
  refused(device, causal, "a page of the sequence of row 1", [](OpCase& c) { c.batch.self_pages.page[2] = -1; });
  refused(device, causal, "a page of the sequence of row 0", [](OpCase& c) { c.batch.self_pages.fill[0] = 65; });
  refused(device, causal, "the page list", [](OpCase& c) { c.batch.self_pages.begin[1] = -1; });
  refused(device, causal, "do not cover its rows", [](OpCase& c) { c.batch.row_begin[2] = 14; });
  refused(device, causal, "do not cover its rows", [](OpCase& c) { c.batch.row_begin[1] = 14; });
  refused(device, causal, "do not cover its rows", [](OpCase& c) { c.batch.row_begin.resize(1); });

  const OpCase rope = first_named(kv_write_cases(), "rope_kv_write 67");
  refused(device, rope, "the kv slot of row 3", [](OpCase& c) { c.batch.kv_slot[3] = int64_t{c.self_kv.pages} * NVLM_PAGE_KEYS; });
  refused(device, rope, "the kv slot of row 0", [](OpCase& c) { c.batch.kv_slot[0] = -1; });
  refused(device, rope, "the position of row 66", [](OpCase& c) { c.batch.position[66] = -1; });
  const OpCase cross = first_named(kv_write_cases(), "kv_write 65");
  refused(device, cross, "the kv slot of row 64", [](OpCase& c) { c.batch.kv_slot[64] = int64_t{1} << 62; });

  const OpCase embed = first_named(embed_cases(), "embed 50");
  refused(device, embed, "the token of row 7", [](OpCase& c) { c.batch.token[7] = 31; });
  refused(device, embed, "the token of row 7", [](OpCase& c) { c.batch.token[7] = -1; });
  const OpCase gather = first_named(embed_cases(), "gather_rows 3");
  refused(device, gather, "out row 1", [](OpCase& c) { c.batch.out_row[1] = 5; });
  refused(device, gather, "out row 2", [](OpCase& c) { c.batch.out_row[2] = -1; });
}

void too_large(const Device& device) {
  const OpCase linear = linear_case(NVLM_LINEAR, 3, 8, 8, NVLM_F32);
  Loaded loaded(device, linear);
  nvlm_batch batch = linear.batch.view(nullptr);
  batch.rows = 5;  // compiled for 4
  equal(loaded.run(batch), NVLM_INVALID, "more rows than the plan has");
  batch.rows = -1;
  equal(loaded.run(batch), NVLM_INVALID, "a negative number of rows");
}

void programs(const Device& device) {
  const OpCase linear = linear_case(NVLM_LINEAR, 3, 8, 8, NVLM_F32, "bias");
  refused(device, linear, "the input is missing", [](OpCase& c) { c.record.in = 7; });
  refused(device, linear, "the output is missing", [](OpCase& c) { c.record.out = -1; });
  refused(device, linear, "the matrix does not fit", [](OpCase& c) { c.record.w = 9; });
  refused(device, linear, "the matrix does not fit", [](OpCase& c) { c.record.w = c.record.bias; });
  refused(device, linear, "the bias does not fit", [](OpCase& c) { c.record.bias = c.record.w; });
  refused(device, linear, "the matrix does not fit", [](OpCase& c) { c.tensors[0].cols = 9; });
  refused(device, linear, "input and output must differ", [](OpCase& c) { c.record.out = c.record.in; });
  refused(device, linear, "impossible shape", [](OpCase& c) { c.tensors[1].cols = 0; });
  refused(device, linear, "unknown op", [](OpCase& c) { c.record.op = NVLM_OP_COUNT; });
  refused(device, linear, "interleaved", [](OpCase& c) { c.record.op = NVLM_LINEAR_SWIGLU; });
  refused(device, linear_case(NVLM_LINEAR_SWIGLU, 3, 8, 8, NVLM_BF16), "interleaved", [](OpCase& c) { c.record.op = NVLM_LINEAR; });
  refused(device, linear_case(NVLM_LINEAR_SWIGLU, 3, 8, 8, NVLM_BF16, "bias"), "no bias");
  const OpCase causal = causal_attention_case({{70, 3}}, 2, 1, 16);
  refused(device, causal, "no such layer", [](OpCase& c) { c.record.c.layer = 2; });
  refused(device, causal, "multiple of 8", [](OpCase& c) { c.record.c.head_dim = 12; });
  refused(device, causal, "multiple of kv_heads", [](OpCase& c) { c.record.c.kv_heads = 3; });
  refused(device, causal, "the key/value cache does not fit", [](OpCase& c) { c.self_kv = {}; });
  const OpCase tile = tile_attention_case(1, 4, 2, 8);
  refused(device, tile, "a tile's rows", [](OpCase& c) { c.record.c.rows_each = 5; });
  refused(device, first_named(patch_embed_cases(), "patch_embed"), "multiple of patch", [](OpCase& c) { c.record.c.patch = 3; });
  refused(device, first_named(pixel_shuffle_cases(), "pixel_shuffle_norm"), "multiple of ratio", [](OpCase& c) { c.record.c.ratio = 3; });
}

}  // namespace

void test_rejections(const Device& device) {
  run("batches refused by " + device.name(), [&] { batches(device); });
  run("batches larger than their plan on " + device.name(), [&] { too_large(device); });
  run("programs refused by " + device.name(), [&] { programs(device); });
}

}  // namespace nvlm::test
