// Shapes of real models: Qwen2-0.5B's decoder (896 wide, 14/2 heads of 64, feed-forward 4864) and InternViT-300M's encoder (1024 wide, 16 heads of 64, 1025 rows a tile).
#include "cases/cases.h"

namespace nvlm::test {

std::vector<OpCase> timed_cases() {
  std::vector<OpCase> cases;
  for (const int64_t rows : {1, 4, 512}) {
    for (const nvlm_dtype type : {NVLM_BF16, NVLM_F32}) {
      cases.push_back(linear_case(NVLM_LINEAR_SWIGLU, rows, 4864, 896, type));
      cases.push_back(linear_case(NVLM_LINEAR_RESIDUAL, rows, 896, 4864, type));
    }
  }
  cases.push_back(linear_case(NVLM_LINEAR_GELU, 1025, 4096, 1024, NVLM_BF16, "bias"));
  cases.push_back(linear_case(NVLM_LOGITS, 1, 32768, 896, NVLM_BF16));
  cases.push_back(causal_attention_case({{512, 512}}, 14, 2, 64));
  cases.push_back(causal_attention_case({{2048, 1}}, 14, 2, 64));
  cases.push_back(tile_attention_case(1, 1025, 16, 64));
  return cases;
}

}  // namespace nvlm::test
