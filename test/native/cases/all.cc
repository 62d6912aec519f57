#include "cases/cases.h"

namespace nvlm::test {

std::vector<OpCase> all_cases() {
  std::vector<OpCase> all;
  for (const auto cases : {linear_cases, activation_cases, norm_cases, attention_cases, kv_write_cases,
                           patch_embed_cases, pixel_shuffle_cases, embed_cases, sample_cases, fused_cases}) {
    for (OpCase& c : cases()) all.push_back(std::move(c));
  }
  return all;
}

}  // namespace nvlm::test
