#include "support/op_time.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <thread>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define NVLM_TEST_FMA 1
#endif

namespace nvlm::test {
namespace {

constexpr int kThreads = 2;

double seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median_seconds(const std::function<void()>& work) {
  work();
  std::vector<double> times;
  double total = 0;
  while (times.size() < 5 || (total < 0.3 && times.size() < 200)) {
    times.push_back(seconds(work));
    total += times.back();
  }
  std::nth_element(times.begin(), times.begin() + static_cast<int64_t>(times.size() / 2), times.end());
  return times[times.size() / 2];
}

void on_threads(const std::function<void(int)>& work) {
  std::vector<std::thread> threads;
  for (int t = 1; t < kThreads; ++t) threads.emplace_back(work, t);
  work(0);
  for (std::thread& t : threads) t.join();
}

#ifdef NVLM_TEST_FMA
// 12 independent sums: fewer would measure latency.
__attribute__((target("avx2,fma"))) float fma_loop(int64_t steps) {
  __m256 s[12];
  for (__m256& x : s) x = _mm256_set1_ps(1);
  const __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
  for (int64_t i = 0; i < steps; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < 12; ++j) s[j] = _mm256_fmadd_ps(s[j], a, b);
  }
  float out[8], total = 0;
  for (const __m256 x : s) {
    _mm256_storeu_ps(out, x);
    total += out[0];
  }
  return total;
}

double peak_gflops() {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
  constexpr int64_t kSteps = 3'000'000;
  volatile float sink = 0;
  const double t = median_seconds([&] {
    on_threads([&](int) { sink = sink + fma_loop(kSteps); });
  });
  return 2.0 * 8 * 12 * kSteps * kThreads / t / 1e9;
}
#else
double peak_gflops() { return 0; }
#endif

double read_gigabytes() {
  const std::vector<uint64_t> data(uint64_t{1} << 25, 1);  // 256 MiB, beyond any cache's help
  const size_t share = data.size() / kThreads;
  volatile uint64_t sink = 0;
  const double t = median_seconds([&] {
    on_threads([&](int thread) {
      uint64_t sum[8] = {};
      const uint64_t* p = data.data() + static_cast<size_t>(thread) * share;
      for (size_t i = 0; i + 8 <= share; i += 8) {
        for (size_t j = 0; j < 8; ++j) sum[j] += p[i + j];
      }
      for (const uint64_t s : sum) sink = sink + s;
    });
  });
  return static_cast<double>(data.size()) * 8 / t / 1e9;
}

}  // namespace

int time_ops(const std::vector<std::string>& sets, const std::vector<OpCase>& cases, const char* word) {
  const double flops = peak_gflops(), bandwidth = read_gigabytes();
  std::printf("ceilings of this run, %d threads: %.1f GFLOP/s (AVX2 FMA), %.1f GB/s (reading)\n", kThreads, flops, bandwidth);
  int wrong_cases = 0;
  for (const OpCase& c : cases) {
    if (word && c.name.find(word) == std::string::npos) continue;
    std::vector<float> first;
    for (const std::string& set : sets) {
      const Device device(set, kThreads);
      Loaded loaded(device, c);
      const Outcome o = loaded.run();
      // The sets check each other here; the tests proper compare with the reference.
      double error = 0, size = 0;
      if (first.empty()) first = o.out;
      for (size_t i = 0; i < o.out.size(); ++i) {
        error += (double(o.out[i]) - first[i]) * (double(o.out[i]) - first[i]);
        size += double(first[i]) * first[i];
      }
      if (o.status != NVLM_OK || !(std::sqrt(error / size) < 1e-5)) {
        std::printf("%-58s %-8s WRONG: %s\n", c.name.c_str(), set.c_str(), o.error.c_str());
        ++wrong_cases;
        continue;
      }
      const nvlm_batch batch = c.batch.view(nullptr);
      const double t = median_seconds([&] { loaded.run(batch); });
      std::printf("%-58s %-8s %9.3f ms %8.1f GFLOP/s", c.name.c_str(), set.c_str(), t * 1e3, c.flops / t / 1e9);
      if (flops > 0) std::printf(" %5.1f %%", 100 * c.flops / t / 1e9 / flops);
      if (c.bytes > 0) std::printf(" %7.1f GB/s %5.1f %%", c.bytes / t / 1e9, 100 * c.bytes / t / 1e9 / bandwidth);
      std::printf("\n");
    }
  }
  return wrong_cases ? 1 : 0;
}

}  // namespace nvlm::test
