// sample. What could break: equal logits and their order, the ends of a filter (the k-th of many equals, top_p of
// nothing and of all, a min_p that only the likeliest meets), counts of tokens in prompt and answer, ids that are no
// tokens, the largest and smallest numbers. The same token must come out, and the same logprobs (op_runner.h).
#include <iterator>

#include "cases/cases.h"

namespace nvlm::test {
namespace {

nvlm_sampling options(float temperature, int32_t top_k = 0, float top_p = 1, float min_p = 0, int32_t logprobs = -1) {
  nvlm_sampling o{};
  o.temperature = temperature, o.top_k = top_k, o.top_p = top_p, o.min_p = min_p, o.repetition_penalty = 1,
  o.top_logprobs = logprobs;
  return o;
}
nvlm_sampling penalised(nvlm_sampling o, float repetition, float presence, float frequency) {
  o.repetition_penalty = repetition, o.presence_penalty = presence, o.frequency_penalty = frequency;
  return o;
}

enum class Logits { kSpread, kEqual, kCoarse, kExtreme, kZeros };

float logit(Random& random, Logits kind) {
  const float x = random.uniform(-10, 10);
  switch (kind) {
    case Logits::kSpread: return x;
    case Logits::kEqual: return 1.5f;
    case Logits::kCoarse: return std::round(x / 2);  // many equals
    case Logits::kExtreme: return random.below(3) ? (random.below(2) ? 3e38f : -3e38f) : x * 1e-40f;
    case Logits::kZeros: return random.below(2) ? 0.0f : -0.0f;
  }
  return NAN;
}

// A row for each of the choices.
OpCase chosen_case(const std::string& words, int64_t vocab, Logits kind) {
  OpCase c;
  c.name = "sample each way of " + std::to_string(vocab) + words;
  Random random(c.name);
  c.record.op = NVLM_SAMPLE;
  const auto histories = std::make_shared<std::vector<std::vector<int32_t>>>();
  for (const SamplingChoice& choice : sampling_choices()) {
    std::vector<int32_t> history(static_cast<size_t>(random.below(700)));
    for (int32_t& token : history)
      token = static_cast<int32_t>(random.below(9)   ? random.below(std::min<int64_t>(vocab, 40))
                                   : random.below(2) ? vocab
                                                     : -1);
    histories->push_back(std::move(history));
    nvlm_sampling o = choice.options;
    o.seed = random.bits();
    o.step = static_cast<uint64_t>(random.below(1000));
    o.history = histories->back().data();  // moves with its vector
    o.history_len = static_cast<int32_t>(histories->back().size());
    o.prompt_len = o.history_len / 2;
    c.batch.sampling.push_back(o);
  }
  c.kept = histories;
  c.batch.outs = static_cast<int64_t>(c.batch.sampling.size());
  std::vector<float> logits;
  for (int64_t i = 0; i < c.batch.outs * vocab; ++i) logits.push_back(logit(random, kind));
  c.record.in = c.add(Tensor{NVLM_OUTS, 1, vocab, std::move(logits)});
  return c;
}

}  // namespace

const std::vector<SamplingChoice>& sampling_choices() {
  static const std::vector<SamplingChoice> choices = {
      {"greedy", options(0)},
      {"greedy with logprobs", options(0, 0, 1, 0, 20)},
      {"greedy, the chosen one's logprob", options(-1, 0, 1, 0, 0)},
      {"greedy with penalties", penalised(options(0, 0, 1, 0, 3), 1.3f, 0.4f, 0.2f)},
      {"the whole distribution", options(1)},
      {"hot", options(3.5f)},
      {"cold", options(1e-3f)},
      {"top k", options(0.8f, 7)},
      {"top 1", options(0.8f, 1)},
      {"top k of more than there are", options(0.8f, 1 << 30)},
      {"top p", options(1, 0, 0.9f)},
      {"top p of nothing", options(1, 0, 0)},
      {"top p just below all", options(1, 0, 0.99999994f)},
      {"min p", options(1.2f, 0, 1, 0.05f)},
      {"min p of the likeliest", options(1.2f, 0, 1, 1)},
      {"min p above all", options(1.2f, 0, 1, 2)},
      {"all filters", options(0.9f, 50, 0.8f, 0.01f, 5)},
      {"all filters and penalties", penalised(options(0.9f, 50, 0.8f, 0.01f, 5), 1.1f, -0.3f, 0.15f)},
      {"repetition alone", penalised(options(1), 0.7f, 0, 0)},
      {"frequency alone", penalised(options(1), 1, 0, 0.9f)},
  };
  return choices;
}

OpCase sample_case(int64_t rows, int64_t vocab, float temperature, float top_p) {
  OpCase c;
  c.name =
      "sample " + std::to_string(rows) + " of " + std::to_string(vocab) + (temperature > 0 ? ", top-p" : ", greedy");
  Random random(c.name);
  c.record.op = NVLM_SAMPLE;
  c.batch.outs = rows;
  c.batch.sampling.assign(static_cast<size_t>(rows), options(temperature, 0, top_p));
  c.record.in = c.add(Tensor{NVLM_OUTS, 1, vocab, random.uniforms(rows * vocab, -10, 10)});
  c.bytes = 4.0 * static_cast<double>(rows * vocab);
  return c;
}

std::vector<OpCase> sample_cases() {
  return {chosen_case("", 1, Logits::kSpread),
          chosen_case("", 2, Logits::kSpread),
          chosen_case("", 31, Logits::kSpread),
          chosen_case("", 530, Logits::kSpread),
          chosen_case(" equals", 530, Logits::kEqual),
          chosen_case(", many equal", 530, Logits::kCoarse),
          chosen_case(" extremes", 530, Logits::kExtreme),
          chosen_case(" zeros of both signs", 530, Logits::kZeros),
          sample_case(1, kLargestVocabulary, 0, 1),
          sample_case(2, kLargestVocabulary, 0.8f, 0.9f)};
}

}  // namespace nvlm::test
