// Shapes of real models: Qwen2-0.5B's decoder (896 wide, 14/2 heads of 64, feed-forward 4864) and InternViT-300M's
// encoder (1024 wide, 16 heads of 64, 1025 rows a tile). 256 rows are a chunk of a prompt, 1 a step of one answer, 4 of
// four at once.
#include "cases/cases.h"

namespace nvlm::test {

std::vector<OpCase> timed_cases() {
  std::vector<OpCase> cases;
  for (const int64_t rows : {1, 4, 256}) {
    for (const nvlm_dtype type : {NVLM_BF16, NVLM_F16, NVLM_F32}) {
      cases.push_back(linear_case(NVLM_LINEAR, rows, 1152, 896, type, "bias"));
      cases.push_back(linear_case(NVLM_LINEAR_SWIGLU, rows, 4864, 896, type));
      cases.push_back(linear_case(NVLM_LINEAR_RESIDUAL, rows, 896, 4864, type));
    }
  }
  cases.push_back(linear_case(NVLM_LINEAR_GELU, 1025, 4096, 1024, NVLM_BF16, "bias"));
  cases.push_back(linear_case(NVLM_LOGITS, 1, 32768, 896, NVLM_BF16));
  cases.push_back(causal_attention_case({{256, 256}}, 14, 2, 64));
  cases.push_back(causal_attention_case({{2048, 1}}, 14, 2, 64));
  cases.push_back(tile_attention_case(1, 1025, 16, 64));
  cases.push_back(rms_norm_case(256, 896, 0));
  cases.push_back(layer_norm_case(1025, 1024, -1, 1, 1e-6f));
  cases.push_back(qk_norm_case(1025, 1024, 0));
  cases.push_back(rope_kv_write_case(256, 14, 2, 64, 2047, 1e6f));
  cases.push_back(kv_write_case(256, 2, 64));
  cases.push_back(patch_embed_case(1, 448, 14, 1024, NVLM_BF16));
  cases.push_back(pixel_shuffle_norm_case(1, 32, 2, 1024, false));
  cases.push_back(embed_tokens_case(256, 32768, 896, NVLM_BF16));
  cases.push_back(gather_rows_case(256, {255, 7, 100, 31}, 896));
  cases.push_back(sample_case(1, 151936, 0, 1));
  cases.push_back(sample_case(1, 151936, 0.8f, 0.95f));
  return cases;
}

}  // namespace nvlm::test
