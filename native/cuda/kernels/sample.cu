// sample (ops/ops.h): one token for each row of in [outs, vocab] float32, as cpu/sampling.cc chooses it, and
// log-probabilities.
//
// The host sorts the vocabulary by (logit, id) and walks along its weights. Here nothing is sorted: a logit and its
// token make one 64-bit key, larger is likelier, no two are equal, and every filter keeps the keys from some key on.
// Such a key (the k-th, where the weights reach top_p, where they pass the draw) is found three bits at a time: each
// pass over the logits adds up the weights of the eight ranges that the next bits make, and goes into the one with the
// place sought. Weights and sums are double as on the host; only their order differs, so that another token comes out
// only where two sums of 152k terms differ in their last bits. Every order of additions is fixed.
// Penalties need a count for each token: a row of the workspace, which then holds the penalised logits.
//
// grid: rows, at most 32, each block takes every 32nd | block: 512 threads | shared: 1.6 KB | registers: at most 128 |
// bound by latency: greedy one pass over the row, with top_p some 20 passes over what lies in the second-level cache;
// exponentials in double only of the range in question
// Rejected: radix sort of the row (workspace, scattered stores); histograms of 256 bins by atomics (sums of floats
// would depend on the order).
#include <cmath>

#include "cuda/launchers.h"
#include "cuda/ptx/sm90.h"
#include "cuda/reduce.cuh"

namespace nvlm::gpu {
namespace {

constexpr int kThreads = 512, kWarps = kThreads / 32;
constexpr int kMaxBlocks = 32;
constexpr int kBits = 3, kRanges = 1 << kBits;

struct SampleArgs {
  const float* logits;  // [rows, vocab]
  int32_t rows, vocab;
  const nvlm_sampling* sampling;  // [rows]
  nvlm_sampled* sampled;          // [rows]
  uint32_t* scratch;              // [blocks, vocab]: counts, then penalised logits
};

// What the threads of a block exchange.
struct Exchange {
  double* sum;      // [kWarps][kRanges]
  uint32_t* count;  // [kWarps][kRanges]
  double* sum_of;   // [kRanges]
  uint32_t* count_of;
  uint64_t* best;  // [kWarps]
};

// ---- Keys ----

constexpr uint64_t kNotFinite = ~uint64_t{0};  // above the key of every number

__device__ __forceinline__ uint64_t key_of(float x, int32_t token) {
  if (x == 0) x = 0;  // not the negative one
  const uint32_t bits = __float_as_uint(x), ordered = bits >> 31 ? ~bits : bits | 0x80000000u;
  return static_cast<uint64_t>(ordered) << 32 | (0xffffffffu - static_cast<uint32_t>(token));
}
__device__ __forceinline__ int32_t token_of(uint64_t key) {
  return static_cast<int32_t>(0xffffffffu - static_cast<uint32_t>(key));
}
__device__ __forceinline__ float value_of(uint64_t key) {
  const auto ordered = static_cast<uint32_t>(key >> 32);
  return __uint_as_float(ordered >> 31 ? ordered & 0x7fffffffu : ~ordered);
}
__device__ __forceinline__ bool is_finite(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }

// ---- The block together ----

__device__ __forceinline__ uint64_t block_max(uint64_t x, const Exchange& e) {
#pragma unroll
  for (uint32_t lanes = 16; lanes > 0; lanes /= 2) {
    const uint64_t other = __shfl_xor_sync(kFullWarp, x, lanes);
    if (other > x) x = other;
  }
  if (threadIdx.x % 32 == 0) e.best[threadIdx.x / 32] = x;
  __syncthreads();  // all warps' are there
  for (int w = 0; w < kWarps; ++w) {
    if (e.best[w] > x) x = e.best[w];
  }
  __syncthreads();  // read, before the next is written
  return x;
}

__device__ __forceinline__ double warp_sum(double x) {
#pragma unroll
  for (uint32_t lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(kFullWarp, x, lanes);
  return x;
}

__device__ __forceinline__ double block_sum(double x, const Exchange& e) {
  x = warp_sum(x);
  if (threadIdx.x % 32 == 0) e.sum[threadIdx.x / 32] = x;
  __syncthreads();  // all warps' are there
  x = 0;
  for (int w = 0; w < kWarps; ++w) x += e.sum[w];
  __syncthreads();  // read, before the next is written
  return x;
}

// Eight sums over a warp in 9 exchanges rather than 40: halves of them change hands until each lane has one. Its number
// is returned, it stands in x[0].
template <typename T>
__device__ __forceinline__ uint32_t scatter_sum(T (&x)[kRanges]) {
  static_assert(kRanges == 8);
  const uint32_t lane = threadIdx.x % 32;
#pragma unroll
  for (uint32_t half = 4; half > 0; half /= 2) {
    const bool upper = lane & (4 * half);
#pragma unroll
    for (uint32_t i = 0; i < half; ++i) {
      const T sent = upper ? x[i] : x[i + half], kept = upper ? x[i + half] : x[i];
      x[i] = kept + __shfl_xor_sync(kFullWarp, sent, 4 * half);
    }
  }
  x[0] += __shfl_xor_sync(kFullWarp, x[0], 2);
  x[0] += __shfl_xor_sync(kFullWarp, x[0], 1);
  return lane / 4;
}

// ---- The row ----

struct Row {
  const float* logits;  // penalised, where there are penalties
  int32_t vocab;
  double temperature, most;  // most: the likeliest logit over the temperature

  __device__ __forceinline__ double weight(float logit) const {
    return exp(static_cast<double>(logit) / temperature - most);
  }
};

// visit(logit, token) for each. Eight loads are under way at a time: one block must draw what a multiprocessor can from
// the second-level cache.
template <typename Visit>
__device__ __forceinline__ void each(const float* logits, int32_t vocab, const Visit& visit) {
  constexpr int kBatch = 8;
  auto i = static_cast<int32_t>(threadIdx.x);
  for (; i < vocab - (kBatch - 1) * kThreads; i += kBatch * kThreads) {
    float x[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) x[b] = logits[i + b * kThreads];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) visit(x[b], i + b * kThreads);
  }
#pragma unroll 1
  for (; i < vocab; i += kThreads) visit(logits[i], i);
}

// The key of the likeliest, kNotFinite when any is no number.
__device__ __forceinline__ uint64_t likeliest(const float* logits, int32_t vocab, const Exchange& e) {
  float best = 0;
  int32_t token = -1;
  bool good = true;
  // A thread's tokens come in rising order: of equals the first stays.
  each(logits, vocab, [&](float x, int32_t i) {
    good = good && is_finite(x);
    if (token < 0 || x > best) best = x, token = i;
  });
  return block_max(!good ? kNotFinite : token < 0 ? 0 : key_of(best, token), e);
}

// The greatest of what `of` makes of a logit and its token.
template <typename Of>
__device__ __forceinline__ uint64_t greatest(const float* logits, int32_t vocab, const Exchange& e, const Of& of) {
  uint64_t best = 0;
  each(logits, vocab, [&](float x, int32_t i) {
    const uint64_t key = of(x, i);
    if (key > best) best = key;
  });
  return block_max(best, e);
}

// Sum of the weights of the keys from `least` on.
__device__ __forceinline__ double total_weight(const Row& row, uint64_t least, const Exchange& e) {
  double total = 0;
  each(row.logits, row.vocab, [&](float x, int32_t i) {
    if (key_of(x, i) >= least) total += row.weight(x);
  });
  return block_sum(total, e);
}

enum class Until { count, reaches, passes };

// Going down from the likeliest among the keys from `least` on: the first key with which the number of keys reaches the
// target, or with which the sum of weights reaches or passes it; the last one, if none does.
__device__ __forceinline__ uint64_t seek(const Row& row, uint64_t least, Until until, double target,
                                         const Exchange& e) {
  uint64_t prefix = 0;  // of the range: its bits from `fixed` on
  double before = 0;    // what lies above the range
  int fixed = 64;
  while (true) {
    const int shift = fixed > kBits ? fixed - kBits : 0;

    // The ranges that the next bits make. At the end some of those bits are fixed already, and ranges stay empty.
    double sum[kRanges];
    uint32_t count[kRanges];
#pragma unroll
    for (int r = 0; r < kRanges; ++r) sum[r] = 0, count[r] = 0;
    each(row.logits, row.vocab, [&](float x, int32_t i) {
      const uint64_t key = key_of(x, i);
      if (key < least || (fixed < 64 && (key ^ prefix) >> fixed != 0)) return;
      const int range = static_cast<int>(key >> shift) & (kRanges - 1);
      const double weight = until == Until::count ? 1.0 : row.weight(x);
#pragma unroll
      for (int r = 0; r < kRanges; ++r) {
        if (r == range) sum[r] += weight, ++count[r];
      }
    });

    // Added up over lanes, then over warps.
    const uint32_t warp = threadIdx.x / 32, mine = scatter_sum(sum);
    scatter_sum(count);
    if (threadIdx.x % 4 == 0) e.sum[warp * kRanges + mine] = sum[0], e.count[warp * kRanges + mine] = count[0];
    __syncthreads();  // all warps' are there
    if (threadIdx.x < kRanges) {
      double all = 0;
      uint32_t number = 0;
      for (int w = 0; w < kWarps; ++w)
        all += e.sum[w * kRanges + threadIdx.x], number += e.count[w * kRanges + threadIdx.x];
      e.sum_of[threadIdx.x] = all;
      e.count_of[threadIdx.x] = number;
    }
    __syncthreads();  // the ranges' are there

    // The one with the place sought. Nobody writes these before the next barrier, so none stands behind.
    int found = -1;
    uint32_t number = 0;
    double above = before;
    for (int r = kRanges - 1; r >= 0; --r) {
      if (e.count_of[r] == 0) continue;
      found = r, number = e.count_of[r], before = above;
      above += e.sum_of[r];
      if (until == Until::passes ? above > target : above >= target) break;
    }
    if (found < 0) return least;  // no key at all: only when there is no number among the logits
    prefix = (prefix >> shift | static_cast<uint64_t>(found)) << shift;
    fixed = shift;
    if (fixed == 0) return prefix;
    if (number == 1) {
      return greatest(row.logits, row.vocab, e, [&](float x, int32_t i) {
        const uint64_t key = key_of(x, i);
        return key >= least && (key ^ prefix) >> fixed == 0 ? key : uint64_t{0};
      });
    }
  }
}

// ---- Penalties ----

// Rounded after each step, as the host does: in double, so that no two steps become one.
__device__ __forceinline__ float penalised(float logit, uint32_t times, const nvlm_sampling& o) {
  logit =
      logit > 0 ? logit / o.repetition_penalty : static_cast<float>(static_cast<double>(logit) * o.repetition_penalty);
  if (times == 0) return logit;
  const auto frequent = static_cast<float>(static_cast<double>(o.frequency_penalty) * static_cast<float>(times));
  const auto penalty = static_cast<float>(static_cast<double>(o.presence_penalty) + frequent);
  return static_cast<float>(static_cast<double>(logit) - penalty);
}

__device__ __forceinline__ void apply_penalties(const float* logits, int32_t vocab, const nvlm_sampling& o,
                                                uint32_t* scratch) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const auto count = [&](int32_t from, int32_t to, uint32_t each) {
    for (int32_t i = from + thread; i < to; i += kThreads) {
      const int32_t token = o.history[i];
      if (token >= 0 && token < vocab) atomicAdd(scratch + token, each);
    }
  };
  const int32_t prompt = o.prompt_len < o.history_len ? o.prompt_len : o.history_len;
  for (int32_t i = thread; i < vocab; i += kThreads) scratch[i] = 0;
  __syncthreads();  // all are zero
  count(0, prompt, 1);
  __syncthreads();  // the prompt is counted
  // Only whether, so that the answer has 31 bits.
  for (int32_t i = thread; i < vocab; i += kThreads) scratch[i] = scratch[i] != 0;
  __syncthreads();  // before the answer adds
  count(prompt, o.history_len, 2);
  __syncthreads();  // all is counted
  for (int32_t i = thread; i < vocab; i += kThreads) {
    const uint32_t seen = scratch[i];
    scratch[i] = __float_as_uint(seen ? penalised(logits[i], seen / 2, o) : logits[i]);
  }
  __syncthreads();  // all are there
}

// ---- The draw ----

__device__ __forceinline__ uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}
__device__ __forceinline__ double draw(uint64_t seed, uint64_t step) {
  return static_cast<double>(mix(mix(seed) ^ mix(step * 2 + 1)) >> 11) * 0x1p-53;
}

// One loop, so that the code of seek and of the sums stands once.
__device__ __forceinline__ uint64_t sampled_key(const Row& row, uint64_t best, const nvlm_sampling& o,
                                                const Exchange& e) {
  enum Step { top_k, top_p, min_p, chosen };
  uint64_t least = 0;
#pragma unroll 1
  for (int step = top_k; step <= chosen; ++step) {
    if (step == top_k && (o.top_k <= 0 || o.top_k >= row.vocab)) continue;
    if (step == top_p && !(o.top_p < 1)) continue;
    if (step == min_p) {
      if (!(o.min_p > 0)) continue;
      // The likeliest stays whatever min_p is. The least of many keys is the greatest of their complements.
      const double weight = o.min_p;
      least = ~greatest(row.logits, row.vocab, e, [&](float x, int32_t i) {
        const uint64_t key = key_of(x, i);
        return key >= least && (key == best || row.weight(x) >= weight) ? ~key : uint64_t{0};
      });
      continue;
    }
    const Until until = step == top_k ? Until::count : step == top_p ? Until::reaches : Until::passes;
    const double share = step == top_p ? o.top_p : step == chosen ? draw(o.seed, o.step) : 0.0;
    least = seek(row, least, until, step == top_k ? o.top_k : share * total_weight(row, least, e), e);
  }
  return least;
}

// ---- The model's own distribution ----

__device__ __forceinline__ void report_logprobs(const float* logits, int32_t vocab, uint64_t best, int32_t top,
                                                int32_t token, nvlm_sampled& s, const Exchange& e) {
  const Row row{logits, vocab, 1, static_cast<double>(value_of(best))};
  const double log_total = log(total_weight(row, 0, e));  // taken off last: beside a huge logit it would be lost
  int32_t count = top < NVLM_MAX_TOP_LOGPROBS ? top : NVLM_MAX_TOP_LOGPROBS;
  if (count > vocab) count = vocab;
  for (int32_t i = 0; i < count; ++i) {
    if (i > 0) {
      best = greatest(logits, vocab, e, [&](float x, int32_t t) {
        const uint64_t key = key_of(x, t);
        return key < best ? key : uint64_t{0};
      });
    }
    if (threadIdx.x == 0)
      s.top_token[i] = token_of(best), s.top_logprob[i] = static_cast<float>(value_of(best) - row.most - log_total);
  }
  if (threadIdx.x == 0) s.logprob = static_cast<float>(logits[token] - row.most - log_total), s.top_count = count;
}

__global__ void __launch_bounds__(kThreads) sample_kernel(const __grid_constant__ SampleArgs a) {
  SharedMemory shared;
  Exchange e;
  e.sum = shared.take<double>(kWarps * kRanges);
  e.count = shared.take<uint32_t>(kWarps * kRanges);
  e.sum_of = shared.take<double>(kRanges);
  e.count_of = shared.take<uint32_t>(kRanges);
  e.best = shared.take<uint64_t>(kWarps);
  uint32_t* scratch = a.scratch + static_cast<int64_t>(blockIdx.x) * a.vocab;
  ptx::wait_for_earlier_launches();  // nothing is launched behind this one

  for (int32_t r = static_cast<int32_t>(blockIdx.x); r < a.rows; r += static_cast<int32_t>(gridDim.x)) {
    const float* logits = a.logits + static_cast<int64_t>(r) * a.vocab;
    const nvlm_sampling& o = a.sampling[r];
    nvlm_sampled& s = a.sampled[r];

    // The likeliest of the model's own; whether all are numbers.
    const uint64_t own = likeliest(logits, a.vocab, e);
    const bool good = own != kNotFinite;

    // The token.
    int32_t token = -1;
    if (good) {
      Row row{logits, a.vocab, o.temperature, 0};
      uint64_t best = own;
      if (o.repetition_penalty != 1 || o.presence_penalty != 0 || o.frequency_penalty != 0) {
        apply_penalties(logits, a.vocab, o, scratch);
        row.logits = reinterpret_cast<const float*>(scratch);
        best = greatest(row.logits, a.vocab, e, [](float x, int32_t i) { return key_of(x, i); });
      }
      if (o.temperature > 0) {
        row.most = static_cast<double>(value_of(best)) / row.temperature;
        best = sampled_key(row, best, o, e);
      }
      token = token_of(best);
    }

    // The answer.
    if (threadIdx.x == 0) {
      s.token = token, s.logprob = 0, s.top_count = 0;
      for (int i = 0; i < NVLM_MAX_TOP_LOGPROBS; ++i) s.top_token[i] = 0, s.top_logprob[i] = 0;
    }
    if (good && o.top_logprobs >= 0) report_logprobs(logits, a.vocab, own, o.top_logprobs, token, s, e);
    __syncthreads();  // the row's scratch is free again
  }
}

}  // namespace

int64_t sample_workspace(int64_t outs, int64_t vocab) { return (outs < kMaxBlocks ? outs : kMaxBlocks) * vocab; }

Status enqueue_sample(const Op& op) {
  if (!op.batch->sampled || op.in_rows == 0) return Status::ok;
  if (op.in_cols <= 0 || op.in_cols > INT32_MAX || op.in_rows > INT32_MAX ||
      op.workspace->float_count < sample_workspace(op.in_rows, op.in_cols))
    return Status::invalid;
  const SampleArgs args{reinterpret_cast<const float*>(op.in),
                        static_cast<int32_t>(op.in_rows),
                        static_cast<int32_t>(op.in_cols),
                        op.batch->sampling,
                        op.batch->sampled,
                        reinterpret_cast<uint32_t*>(op.workspace->floats)};
  constexpr uint32_t kShared = kWarps * kRanges * 12 + kRanges * 12 + kWarps * 8 + 64;  // 64: alignment
  return launch(sample_kernel,
                Launch{dim3(static_cast<uint32_t>(op.in_rows < kMaxBlocks ? op.in_rows : kMaxBlocks)), dim3(kThreads),
                       kShared, op.stream, kDependent},
                args);
}

}  // namespace nvlm::gpu
