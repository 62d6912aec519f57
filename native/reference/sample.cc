#include <algorithm>
#include <cmath>

#include "reference/kernels.h"

namespace nvlm::reference {
namespace {

struct Candidate {
  int32_t token;
  bool seen;         // in the prompt or the answer
  int32_t answered;  // times in the answer
  double logit, weight;
};

uint64_t split_mix(uint64_t x) {
  uint64_t z = x + 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

// In [0, 1).
double draw(const nvlm_sampling& o) {
  const uint64_t hash = split_mix(split_mix(o.seed) ^ split_mix(2 * o.step + 1));
  return std::ldexp(static_cast<double>(hash >> 11), -53);
}

void count_history(Candidate* candidates, int64_t vocab, const nvlm_sampling& o) {
  for (int32_t i = 0; i < o.history_len; ++i) {
    const int32_t token = o.history[i];
    if (token < 0 || token >= vocab) continue;
    candidates[token].seen = true;
    if (i >= o.prompt_len) ++candidates[token].answered;
  }
}

// In float32, so that the logits of two tokens are equal on every device or on none.
float penalised(const Candidate& c, float logit, const nvlm_sampling& o) {
  if (c.seen) logit = logit > 0 ? logit / o.repetition_penalty : logit * o.repetition_penalty;
  if (c.answered > 0) logit -= o.presence_penalty + o.frequency_penalty * static_cast<float>(c.answered);
  return logit;
}

void sort_likeliest_first(Candidate* candidates, int64_t vocab) {
  std::sort(candidates, candidates + vocab, [](const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
  });
}

// Of sorted candidates.
int32_t drawn_token(Candidate* candidates, int64_t vocab, const nvlm_sampling& o) {
  const auto total_of = [&](int64_t count) {
    double total = 0;
    for (int64_t i = 0; i < count; ++i) total += candidates[i].weight;
    return total;
  };
  int64_t count = vocab;
  if (o.top_k > 0) count = std::min<int64_t>(count, o.top_k);
  for (int64_t i = 0; i < count; ++i)
    candidates[i].weight = std::exp((candidates[i].logit - candidates[0].logit) / o.temperature);
  if (o.top_p < 1) {
    const double wanted = o.top_p * total_of(count);
    int64_t kept = 1;
    for (double sum = candidates[0].weight; kept < count && sum < wanted; ++kept) sum += candidates[kept].weight;
    count = kept;
  }
  while (count > 1 && candidates[count - 1].weight < o.min_p * candidates[0].weight) --count;
  const double target = draw(o) * total_of(count);
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    sum += candidates[i].weight;
    if (sum > target) return candidates[i].token;
  }
  return candidates[count - 1].token;
}

void sample_row(Candidate* candidates, const float* logits, int64_t vocab, const nvlm_sampling& o, nvlm_sampled* out) {
  *out = {};
  out->token = -1;
  for (int64_t i = 0; i < vocab; ++i) {
    if (!std::isfinite(logits[i])) return;
    candidates[i] = {static_cast<int32_t>(i), false, 0, 0, 0};
  }
  count_history(candidates, vocab, o);
  for (int64_t i = 0; i < vocab; ++i) candidates[i].logit = penalised(candidates[i], logits[i], o);
  sort_likeliest_first(candidates, vocab);
  out->token = o.temperature > 0 ? drawn_token(candidates, vocab, o) : candidates[0].token;
  if (o.top_logprobs < 0) return;

  // The model's own distribution.
  for (int64_t i = 0; i < vocab; ++i) candidates[i] = {static_cast<int32_t>(i), false, 0, logits[i], 0};
  sort_likeliest_first(candidates, vocab);
  const double most = candidates[0].logit;
  double total = 0;
  for (int64_t i = 0; i < vocab; ++i) total += std::exp(logits[i] - most);
  const auto logprob = [&](double logit) { return static_cast<float>(logit - most - std::log(total)); };
  out->logprob = logprob(logits[out->token]);
  out->top_count = static_cast<int32_t>(std::min<int64_t>({o.top_logprobs, NVLM_MAX_TOP_LOGPROBS, vocab}));
  for (int32_t i = 0; i < out->top_count; ++i) {
    out->top_token[i] = candidates[i].token;
    out->top_logprob[i] = logprob(candidates[i].logit);
  }
}

}  // namespace

uint64_t sample_scratch(const host::Op& op) { return static_cast<uint64_t>(op.in_cols) * sizeof(Candidate); }

void sample(const host::Op& op) {
  if (!op.batch->sampled) return;
  for (int64_t o = 0; o < op.in_rows; ++o) {
    sample_row(static_cast<Candidate*>(op.scratch), op.in + o * op.in_cols, op.in_cols, op.batch->sampling[o],
               op.batch->sampled + o);
  }
}

}  // namespace nvlm::reference
