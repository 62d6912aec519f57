// Sampling: one pass over the logits when greedy, many with filters.
#include <numeric>

#include "op_cases.h"

namespace nvlm::times {
namespace {

// As ops.h says, in double.
double penalised(double logit, int32_t seen, int32_t answered, const nvlm_sampling& o) {
  if (seen == 0) return logit;
  logit = logit > 0 ? logit / o.repetition_penalty : logit * o.repetition_penalty;
  return answered == 0 ? logit : logit - (o.presence_penalty + o.frequency_penalty * answered);
}

// The tokens that may come out, likeliest first; greedy: one.
std::vector<int32_t> candidates(const std::vector<double>& logits, const nvlm_sampling& o) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto logit = [&](int32_t token) { return logits[static_cast<size_t>(token)]; };
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logit(a) > logit(b); });
  const auto weight = [&](int32_t token) { return std::exp((logit(token) - logit(order[0])) / o.temperature); };
  if (!(o.temperature > 0)) order.resize(1);
  if (o.top_k > 0 && static_cast<size_t>(o.top_k) < order.size()) order.resize(static_cast<size_t>(o.top_k));
  if (o.top_p < 1) {
    double all = 0, sum = 0;
    for (const int32_t token : order) all += weight(token);
    size_t kept = 0;
    while (kept < order.size() && sum < o.top_p * all) sum += weight(order[kept++]);
    order.resize(kept);
  }
  if (o.min_p > 0)
    order.erase(std::find_if(order.begin() + 1, order.end(), [&](int32_t token) { return weight(token) < o.min_p; }),
                order.end());
  return order;
}

}  // namespace

Line sample(const Machine& machine, const std::string& name, int64_t vocab, nvlm_sampling options, int32_t history) {
  const Pattern pattern(7, 8);
  std::vector<float> logits;  // no two are equal, or hardly any
  for (int64_t i = 0; i < vocab; ++i)
    logits.push_back(static_cast<float>(pattern.at(i) + 1e-6 * static_cast<double>(i)));
  const auto in = on_device(machine, logits);
  const WorkspaceNeed need{sample_workspace(1, vocab), 0};
  const Memory scratch(machine, static_cast<uint64_t>(need.floats) * 4);
  const Workspace workspace{scratch.as<float>(), need.floats, nullptr, 0};

  // The likeliest tokens, but for the second, stand before; the very likeliest, and others up to an eighth, in the
  // answer. What a penalty does to them shows.
  std::vector<int32_t> before(static_cast<size_t>(std::max(1, history))), order(static_cast<size_t>(vocab)),
      seen(static_cast<size_t>(vocab), 0), answered = seen;
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int32_t a, int32_t b) { return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)]; });
  options.history_len = history, options.prompt_len = history - history / 8;
  for (int32_t i = 0; i < history; ++i) {
    const int32_t rank = history - 1 - i, token = order[static_cast<size_t>(rank == 0 ? 0 : rank + 1)];
    before[static_cast<size_t>(i)] = token;
    ++seen[static_cast<size_t>(token)];
    if (i >= options.prompt_len) ++answered[static_cast<size_t>(token)];
  }
  const auto history_memory = on_device(machine, before);
  options.history = history_memory->as<int32_t>();
  const auto sampling = on_device<nvlm_sampling>(machine, {options});
  const Memory sampled(machine, sizeof(nvlm_sampled));
  sampled.fill_with(0xff);
  DeviceBatch batch{};
  batch.outs = 1;
  batch.sampling = sampling->as<nvlm_sampling>();
  batch.sampled = sampled.as<nvlm_sampled>();
  nvlm_record record{};
  record.op = NVLM_SAMPLE;
  Op op = op_of(machine, record);
  op.batch = &batch;
  op.workspace = &workspace;
  reads(&op, *in, 1, vocab);  // float32
  const auto enqueue = [&](int) { expect(enqueue_sample(op), name); };

  std::vector<double> judged;
  for (size_t i = 0; i < logits.size(); ++i) judged.push_back(penalised(logits[i], seen[i], answered[i], options));
  // Penalised logits are float32 on the device: what differs by less than their rounding may come in another order.
  const double least = judged[static_cast<size_t>(candidates(judged, options).back())] - 1e-5,
               most = logits[static_cast<size_t>(order[0])];
  double sum = 0;
  for (const float x : logits) sum += std::exp(x - most);
  const double log_total = most + std::log(sum);
  Difference difference;
  // Many draws: a filter that lets a tenth too much through shows in some of them.
  for (options.seed = 0; options.seed < (options.temperature > 0 ? 64 : 1); ++options.seed) {
    sampling->write(&options, sizeof options);
    enqueue(0);
    const nvlm_sampled got = sampled.read<nvlm_sampled>(0, 1)[0];
    if (got.token < 0 || got.token >= vocab)
      throw std::runtime_error("token " + std::to_string(got.token) + " of " + std::to_string(vocab));
    if (!(judged[static_cast<size_t>(got.token)] >= least))
      throw std::runtime_error("token " + std::to_string(got.token) + " is not among the likeliest");
    if (options.top_logprobs < 0) continue;
    difference.add(got.top_count, options.top_logprobs, 0, 0, 0);
    difference.add(got.logprob, logits[static_cast<size_t>(got.token)] - log_total, 1e-4, 0, got.token);
    for (int32_t i = 0; i < options.top_logprobs; ++i)
      difference.add(got.top_logprob[i], logits[static_cast<size_t>(order[static_cast<size_t>(i)])] - log_total, 1e-4,
                     i, got.top_token[i]);
  }
  if (options.top_logprobs >= 0) difference.expect_none("log-probabilities: ");
  return {name, record.op, "latency", timed(machine, 1, enqueue), 0, 4.0 * static_cast<double>(vocab)};
}

}  // namespace nvlm::times
