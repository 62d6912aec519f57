#include "cpu/sampling.h"

#include <algorithm>
#include <cmath>

namespace nvlm::cpu {
namespace {

struct Candidate {
  int32_t token;
  int32_t answered;  // times in the answer; 0: in the prompt alone; -1: in neither
  double weight;     // logit, then probability
};

// Likeliest first; the lower id among equals, so that greedy and sampled order agree everywhere.
bool likelier(const Candidate& a, const Candidate& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.token < b.token;
}

// SplitMix64's finaliser: every bit of the input reaches every bit of the output.
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Uniform in [0, 1), 53 bits.
double draw(uint64_t seed, uint64_t step) {
  return static_cast<double>(mix(mix(seed) ^ mix(step * 2 + 1)) >> 11) * 0x1p-53;
}

// One candidate for each token.
void fill(Candidate* candidates, const float* logits, int64_t vocab) {
  for (int64_t i = 0; i < vocab; ++i) candidates[i] = {static_cast<int32_t>(i), -1, logits[i]};
}

void apply_penalties(Candidate* candidates, int64_t vocab, const nvlm_sampling& o) {
  if (o.repetition_penalty == 1 && o.presence_penalty == 0 && o.frequency_penalty == 0) return;
  for (int32_t i = 0; i < o.history_len; ++i) {
    if (o.history[i] < 0 || o.history[i] >= vocab) continue;
    int32_t& times = candidates[o.history[i]].answered;
    times = std::max(times, 0) + (i >= o.prompt_len);
  }
  for (Candidate* c = candidates; c < candidates + vocab; ++c) {
    if (c->answered < 0) continue;
    auto logit = static_cast<float>(c->weight);
    logit = logit > 0 ? logit / o.repetition_penalty : logit * o.repetition_penalty;
    if (c->answered > 0) logit -= o.presence_penalty + o.frequency_penalty * static_cast<float>(c->answered);
    c->weight = logit;
  }
}

int32_t sampled_token(Candidate* candidates, int64_t vocab, const nvlm_sampling& o) {
  Candidate* end = candidates + vocab;
  for (Candidate* c = candidates; c < end; ++c) c->weight /= o.temperature;
  if (o.top_k > 0 && o.top_k < vocab) {
    std::nth_element(candidates, candidates + o.top_k, end, likelier);
    end = candidates + o.top_k;
  }
  std::sort(candidates, end, likelier);

  const double most = candidates->weight;
  double total = 0;
  for (Candidate* c = candidates; c < end; ++c) total += c->weight = std::exp(c->weight - most);
  if (o.top_p < 1) {  // the fewest that together reach top_p
    double sum = 0;
    Candidate* keep = candidates;
    while (keep < end && sum < o.top_p * total) sum += (keep++)->weight;
    end = std::max(keep, candidates + 1);
  }
  if (o.min_p > 0) {  // relative to the likeliest, whose weight is 1
    while (end > candidates + 1 && end[-1].weight < o.min_p) --end;
  }
  total = 0;
  for (const Candidate* c = candidates; c < end; ++c) total += c->weight;
  double left = draw(o.seed, o.step) * total;
  for (const Candidate* c = candidates; c < end; ++c) {
    left -= c->weight;
    if (left < 0) return c->token;
  }
  return end[-1].token;
}

// Log-probabilities of the model's own distribution.
void report_logprobs(Candidate* candidates, const float* logits, int64_t vocab, int32_t top, nvlm_sampled* s) {
  const double most = *std::max_element(logits, logits + vocab);
  double total = 0;
  for (int64_t i = 0; i < vocab; ++i) total += std::exp(static_cast<double>(logits[i]) - most);
  const double log_total = std::log(total);  // taken off last: beside a huge logit it would be lost
  s->logprob = static_cast<float>(logits[s->token] - most - log_total);
  const auto count = static_cast<int32_t>(std::min<int64_t>({top, NVLM_MAX_TOP_LOGPROBS, vocab}));
  if (count == 0) return;
  fill(candidates, logits, vocab);
  std::partial_sort(candidates, candidates + count, candidates + vocab, likelier);
  s->top_count = count;
  for (int32_t i = 0; i < count; ++i) {
    s->top_token[i] = candidates[i].token;
    s->top_logprob[i] = static_cast<float>(candidates[i].weight - most - log_total);
  }
}

void sample_row(Candidate* candidates, const float* logits, int64_t vocab, const nvlm_sampling& o, nvlm_sampled* s) {
  *s = {};
  s->token = -1;
  for (int64_t i = 0; i < vocab; ++i) {
    if (!std::isfinite(logits[i])) return;
  }
  fill(candidates, logits, vocab);
  apply_penalties(candidates, vocab, o);
  s->token = o.temperature > 0 ? sampled_token(candidates, vocab, o)
                               : std::min_element(candidates, candidates + vocab, likelier)->token;
  if (o.top_logprobs >= 0) report_logprobs(candidates, logits, vocab, o.top_logprobs, s);
}

}  // namespace

uint64_t sample_scratch(const host::Op& op) {
  return static_cast<uint64_t>(std::min<int64_t>(op.threads.count, op.in_rows) * op.in_cols) * sizeof(Candidate);
}

void sample(const host::Op& op) {
  if (!op.batch->sampled) return;
  op.parallel(op.in_rows, [&](int64_t o, int thread) {
    sample_row(static_cast<Candidate*>(op.scratch) + thread * op.in_cols, op.in + o * op.in_cols, op.in_cols,
               op.batch->sampling[o], op.batch->sampled + o);
  });
}

}  // namespace nvlm::cpu
