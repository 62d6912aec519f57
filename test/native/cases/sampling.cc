// sample, against answers worked out by hand or by statistics, the reference's own too: ties, penalties, each filter,
// the order of filters, the distribution of draws, logprobs, logits that are not finite.
#include <algorithm>
#include <cmath>
#include <limits>

#include "cases/cases.h"
#include "support/check.h"

namespace nvlm::test {
namespace {

nvlm_sampling plain(float temperature) {
  nvlm_sampling s{};
  s.temperature = temperature;
  s.top_p = 1;
  s.repetition_penalty = 1;
  s.top_logprobs = -1;
  return s;
}

// One row of logits for each element of options.
std::vector<nvlm_sampled> sample(const Device& device, const std::vector<float>& logits,
                                 const std::vector<nvlm_sampling>& options) {
  OpCase c;
  c.batch.outs = static_cast<int64_t>(options.size());
  c.batch.sampling = options;
  c.record.op = NVLM_SAMPLE;
  std::vector<float> rows;
  for (size_t i = 0; i < options.size(); ++i) rows.insert(rows.end(), logits.begin(), logits.end());
  c.record.in = c.add(Tensor{NVLM_OUTS, 1, static_cast<int64_t>(logits.size()), rows});
  const Outcome o = run_case(device, c);
  check(o.status == NVLM_OK && o.damage.empty(), "sampling runs: " + o.error + o.damage);
  equal(o.allocations, int64_t{0}, "allocations while sampling");
  return o.sampled;
}

int32_t token(const Device& device, const std::vector<float>& logits, const nvlm_sampling& options) {
  return sample(device, logits, {options})[0].token;
}

// How often each token comes over 4,000 seeds.
std::vector<double> frequencies(const Device& device, const std::vector<float>& logits, nvlm_sampling options) {
  std::vector<nvlm_sampling> draws;
  for (uint64_t seed = 0; seed < 4000; ++seed) {
    options.seed = seed;
    options.step = seed % 7;
    draws.push_back(options);
  }
  std::vector<double> share(logits.size(), 0);
  for (const nvlm_sampled& s : sample(device, logits, draws)) share[static_cast<size_t>(s.token)] += 1.0 / 4000;
  return share;
}

// Four standard deviations of a share of 4,000 draws are at most 0.032.
void near(const std::vector<double>& got, const std::vector<double>& expected, const std::string& what) {
  for (size_t i = 0; i < expected.size(); ++i) {
    const double limit = expected[i] == 0 ? 0 : 0.032;
    check(std::abs(got[i] - expected[i]) <= limit, what + ": token " + std::to_string(i) + " came at a share of " +
                                                       std::to_string(got[i]) + ", expected " +
                                                       std::to_string(expected[i]));
  }
}

}  // namespace

void test_sampling(const Device& device) {
  const float log2 = std::log(2.0f);
  run("sampling on " + device.name(), [&] {
    equal(token(device, {1, 3, 3, 2}, plain(0)), 1, "greedy takes the lowest of equals");
    equal(token(device, {-5}, plain(0)), 0, "one token");
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
      equal(token(device, {1, bad, 2}, plain(0)), -1, "logits that are not finite");
    }

    // Shares 1/2, 1/4, 1/8, 1/8 at temperature 1.
    const std::vector<float> halves = {3 * log2, log2, 2 * log2, log2};
    near(frequencies(device, halves, plain(1)), {0.5, 0.125, 0.25, 0.125}, "temperature 1");
    near(frequencies(device, halves, plain(0.5f)), {16 / 22.0, 1 / 22.0, 4 / 22.0, 1 / 22.0}, "temperature 0.5");
    nvlm_sampling o = plain(1);
    o.top_k = 2;
    near(frequencies(device, halves, o), {2 / 3.0, 0, 1 / 3.0, 0}, "top-k 2");
    o.top_k = 3;
    near(frequencies(device, halves, o), {4 / 7.0, 1 / 7.0, 2 / 7.0, 0}, "top-k 3 keeps the lower id of equals");
    o = plain(1);
    o.top_p = 0.7f;
    near(frequencies(device, halves, o), {2 / 3.0, 0, 1 / 3.0, 0}, "top-p 0.7");
    o.top_p = 0.01f;
    near(frequencies(device, halves, o), {1, 0, 0, 0}, "top-p keeps at least one");
    o = plain(1);
    o.min_p = 0.4f;
    near(frequencies(device, halves, o), {2 / 3.0, 0, 1 / 3.0, 0}, "min-p 0.4");
    // Temperature goes before top-p: at 0.5 the likeliest token has 0.727 alone. Top-k goes before top-p: of the two
    // kept, 2/3 reach 0.6.
    o = plain(0.5f);
    o.top_p = 0.7f;
    near(frequencies(device, halves, o), {1, 0, 0, 0}, "temperature before top-p");
    o = plain(1);
    o.top_k = 2;
    o.top_p = 0.6f;
    near(frequencies(device, halves, o), {1, 0, 0, 0}, "top-k before top-p");

    // Penalties: prompt {0}, answer {2, 2}.
    const std::vector<int32_t> history = {0, 2, 2};
    const auto penalised = [&](float repetition, float presence, float frequency) {
      nvlm_sampling p = plain(0);
      p.repetition_penalty = repetition;
      p.presence_penalty = presence;
      p.frequency_penalty = frequency;
      p.history = history.data();
      p.history_len = 3;
      p.prompt_len = 1;
      return p;
    };
    equal(token(device, {4, 3, 3.5f}, penalised(2, 0, 0)), 1, "repetition counts prompt and answer: 2, 3, 1.75");
    equal(token(device, {-1, -1.5f, -1.2f}, penalised(2, 0, 0)), 1,
          "repetition multiplies negative logits: -2, -1.5, -2.4");
    equal(token(device, {1, 3, 3.5f}, penalised(1, 1, 0)), 1, "presence: 3.5 - 1");
    equal(token(device, {3.4f, 3, 3.5f}, penalised(1, 1, 0)), 0, "presence leaves the prompt alone");
    equal(token(device, {1, 3, 4.1f}, penalised(1, 0, 0.6f)), 1, "frequency counts twice: 4.1 - 1.2");
    equal(token(device, {1, 3, 4.3f}, penalised(1, 0, 0.6f)), 2, "frequency: 4.3 - 1.2");

    // Logprobs are of the model's own distribution, whatever the filters.
    o = penalised(2, 1, 1);
    o.temperature = 0.3f;
    o.top_k = 1;
    o.top_logprobs = 3;
    const nvlm_sampled s = sample(device, halves, {o})[0];
    equal(s.token, 0, "the penalised choice: 1.04, 0.69, -2.3, 0.69");
    o.repetition_penalty = 4;
    equal(sample(device, halves, {o})[0].token, 1, "the lower id of equals");
    equal(s.top_count, 3, "as many logprobs as asked");
    const int32_t order[] = {0, 2, 1};
    const double expected[] = {std::log(0.5), std::log(0.25), std::log(0.125)};
    for (int i = 0; i < 3; ++i) {
      equal(s.top_token[i], order[i], "likeliest first, lower id among equals");
      check(std::abs(s.top_logprob[i] - expected[i]) < 1e-6, "logprob " + std::to_string(i));
    }
    o = plain(0);
    o.top_logprobs = 20;
    const nvlm_sampled all = sample(device, halves, {o})[0];
    equal(all.top_count, 4, "no more logprobs than tokens");
    check(std::abs(all.logprob - std::log(0.5)) < 1e-6, "the chosen token's logprob");

    // The draw depends on seed and step alone.
    o = plain(1);
    o.seed = 9;
    o.step = 4;
    const std::vector<float> flat(1000, 0.0f);
    const int32_t first = token(device, flat, o);
    nvlm_sampling other = o;
    other.step = 5;
    const std::vector<nvlm_sampled> beside = sample(device, flat, {other, o, other});
    equal(beside[1].token, first, "same seed and step, whatever runs beside");
    check(beside[0].token != first, "another step, another draw");
    std::vector<nvlm_sampling> rows(64, o);
    for (size_t i = 0; i < rows.size(); ++i) rows[i].seed = i;
    std::vector<float> many(5000);
    for (size_t i = 0; i < many.size(); ++i) many[i] = static_cast<float>(i * 7919 % 5000) * 0.001f;
    const std::vector<nvlm_sampled> together = sample(device, many, rows);
    for (size_t i = 0; i < rows.size(); ++i)
      check(together[i].token == token(device, many, rows[i]),
            "row " + std::to_string(i) + " of 64 is sampled as alone");
    // SplitMix64 of both, worked out apart from this code: 0.464… of 1,000 tokens.
    equal(beside[0].token, 464, "the draw of seed 9, step 5");
  });
}

}  // namespace nvlm::test
