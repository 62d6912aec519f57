// The op cases, one file an op and one for chains of them, and the tests of what is not one op's arithmetic.
#pragma once

#include <string>
#include <vector>

#include "support/op_case.h"
#include "support/op_runner.h"

namespace nvlm::test {

// Of Qwen2-72B: the longest sums and the widest outputs that a model here has.
constexpr int64_t kLargestMlp = 29568, kLargestVocabulary = 152064;

std::vector<OpCase> linear_cases();
std::vector<OpCase> activation_cases();
std::vector<OpCase> norm_cases();
std::vector<OpCase> attention_cases();
std::vector<OpCase> kv_write_cases();
std::vector<OpCase> patch_embed_cases();
std::vector<OpCase> pixel_shuffle_cases();
std::vector<OpCase> embed_cases();
std::vector<OpCase> sample_cases();
std::vector<OpCase> fused_cases();
// All of these, in this order.
std::vector<OpCase> all_cases();
// Shapes of real models, for --time.
std::vector<OpCase> timed_cases();

// A linear op of these sizes (see linear.cc); SwiGLU has 2n weight rows.
OpCase linear_case(nvlm_op op, int64_t rows, int64_t n, int64_t k, nvlm_dtype dtype, const std::string& variant = "");
// Self attention of one sequence per entry: `keys` in its pages, of which its last `rows` are the queries' own
// (causal).
OpCase causal_attention_case(const std::vector<std::pair<int64_t, int64_t>>& keys_rows, int32_t heads, int32_t kv_heads,
                             int32_t head_dim);
OpCase tile_attention_case(int64_t tiles, int32_t rows_each, int32_t heads, int32_t head_dim);
OpCase rms_norm_case(int64_t rows, int64_t n, int32_t true_width);
OpCase layer_norm_case(int64_t rows, int64_t n, float low, float high, float eps);
OpCase qk_norm_case(int64_t rows, int64_t n, int32_t true_width);
OpCase rope_kv_write_case(int64_t rows, int32_t heads, int32_t kv_heads, int32_t head_dim, int32_t last_position,
                          float theta);
OpCase kv_write_case(int64_t rows, int32_t kv_heads, int32_t head_dim);
OpCase patch_embed_case(int64_t tiles, int32_t side, int32_t patch, int64_t n, nvlm_dtype dtype);
OpCase pixel_shuffle_norm_case(int64_t tiles, int32_t grid, int32_t ratio, int64_t n, bool transpose);
OpCase embed_tokens_case(int64_t rows, int64_t vocab, int64_t n, nvlm_dtype dtype);
OpCase sample_case(int64_t rows, int64_t vocab, float temperature, float top_p);
// Every way of choosing a token; without seed and history.
struct SamplingChoice {
  const char* name;
  nvlm_sampling options;
};
const std::vector<SamplingChoice>& sampling_choices();
// A decoder layer (see fused.cc) of so many sequences with one row each; heads of 64.
OpCase decoder_layer_case(int rows, bool cross);
OpCase gather_rows_case(int64_t rows, const std::vector<int32_t>& out_rows, int64_t n);

void test_sampling(const Device& device);
void test_rejections(const Device& device);
void test_devices(const std::vector<std::string>& sets);
void test_rows_alone(const Device& device);

}  // namespace nvlm::test
