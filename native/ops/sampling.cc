#include "ops/sampling.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <vector>

namespace nvlm::host {
namespace {

struct Candidate {
  int32_t token;
  double weight;  // logit, then probability
};

// Likeliest first; the lower id among equals, so that greedy and sampled order agree everywhere.
bool likelier(const Candidate& a, const Candidate& b) { return a.weight != b.weight ? a.weight > b.weight : a.token < b.token; }

// SplitMix64's finaliser: every bit of the input reaches every bit of the output.
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Uniform in [0, 1), 53 bits.
double draw(uint64_t seed, uint64_t step) { return static_cast<double>(mix(mix(seed) ^ mix(step * 2 + 1)) >> 11) * 0x1p-53; }

void apply_penalties(std::vector<float>& logits, const nvlm_sampling& o) {
  if (o.repetition_penalty == 1 && o.presence_penalty == 0 && o.frequency_penalty == 0) return;
  std::unordered_map<int32_t, int32_t> answered;  // token -> times in the answer; 0: in the prompt alone
  for (int32_t i = 0; i < o.history_len; ++i) {
    const int32_t token = o.history[i];
    if (token < 0 || static_cast<size_t>(token) >= logits.size()) continue;
    int32_t& times = answered[token];
    if (i >= o.prompt_len) ++times;
  }
  for (const auto& [token, times] : answered) {
    float& logit = logits[static_cast<size_t>(token)];
    logit = logit > 0 ? logit / o.repetition_penalty : logit * o.repetition_penalty;
    if (times > 0) logit -= o.presence_penalty + o.frequency_penalty * static_cast<float>(times);
  }
}

int32_t greedy(const std::vector<float>& logits) { return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()); }

int32_t sampled_token(const std::vector<float>& logits, const nvlm_sampling& o) {
  std::vector<Candidate> candidates(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) candidates[i] = {static_cast<int32_t>(i), static_cast<double>(logits[i]) / o.temperature};
  const bool cut = o.top_k > 0 && static_cast<size_t>(o.top_k) < candidates.size();
  if (cut) {
    std::nth_element(candidates.begin(), candidates.begin() + o.top_k, candidates.end(), likelier);
    candidates.resize(static_cast<size_t>(o.top_k));
  }
  std::sort(candidates.begin(), candidates.end(), likelier);

  const double most = candidates.front().weight;
  double total = 0;
  for (Candidate& c : candidates) total += c.weight = std::exp(c.weight - most);
  if (o.top_p < 1) {  // the fewest that together reach top_p
    double sum = 0;
    size_t keep = 0;
    while (keep < candidates.size() && sum < o.top_p * total) sum += candidates[keep++].weight;
    candidates.resize(std::max<size_t>(keep, 1));
  }
  if (o.min_p > 0) {  // relative to the likeliest, whose weight is 1
    while (candidates.size() > 1 && candidates.back().weight < o.min_p) candidates.pop_back();
  }
  total = 0;
  for (const Candidate& c : candidates) total += c.weight;
  double left = draw(o.seed, o.step) * total;
  for (const Candidate& c : candidates) {
    left -= c.weight;
    if (left < 0) return c.token;
  }
  return candidates.back().token;
}

// Log-probabilities of the model's own distribution.
void report_logprobs(const float* logits, int64_t vocab, int32_t top, nvlm_sampled* s) {
  const double most = *std::max_element(logits, logits + vocab);
  double total = 0;
  for (int64_t i = 0; i < vocab; ++i) total += std::exp(static_cast<double>(logits[i]) - most);
  const double log_total = most + std::log(total);
  s->logprob = static_cast<float>(logits[s->token] - log_total);
  const auto count = static_cast<int32_t>(std::min<int64_t>({top, NVLM_MAX_TOP_LOGPROBS, vocab}));
  if (count == 0) return;
  std::vector<Candidate> candidates(static_cast<size_t>(vocab));
  for (int64_t i = 0; i < vocab; ++i) candidates[static_cast<size_t>(i)] = {static_cast<int32_t>(i), logits[i]};
  std::partial_sort(candidates.begin(), candidates.begin() + count, candidates.end(), likelier);
  s->top_count = count;
  for (int32_t i = 0; i < count; ++i) {
    s->top_token[i] = candidates[static_cast<size_t>(i)].token;
    s->top_logprob[i] = static_cast<float>(candidates[static_cast<size_t>(i)].weight - log_total);
  }
}

}  // namespace

void sample_row(const float* logits, int64_t vocab, const nvlm_sampling& o, nvlm_sampled* s) {
  *s = {};
  s->token = -1;
  for (int64_t i = 0; i < vocab; ++i) {
    if (!std::isfinite(logits[i])) return;
  }
  std::vector<float> adjusted(logits, logits + vocab);
  apply_penalties(adjusted, o);
  s->token = o.temperature > 0 ? sampled_token(adjusted, o) : greedy(adjusted);
  if (o.top_logprobs >= 0) report_logprobs(logits, vocab, o.top_logprobs, s);
}

}  // namespace nvlm::host
