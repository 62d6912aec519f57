#include "support/op_time.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <thread>

#include "platform/memory.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define NVLM_TEST_FMA 1
#endif

namespace nvlm::test {
namespace {

// Seconds: the median, and half the distance between the quartiles.
struct Times {
  double median, spread;
};

Times timed(const std::function<void()>& work) {
  work();
  std::vector<double> times;
  double total = 0;
  while (times.size() < 7 || (total < 0.3 && times.size() < 500)) {
    const auto start = std::chrono::steady_clock::now();
    work();
    times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    total += times.back();
  }
  std::sort(times.begin(), times.end());
  const size_t n = times.size();
  return {times[n / 2], (times[n * 3 / 4] - times[n / 4]) / 2};
}

void on_threads(int count, const std::function<void(int)>& work) {
  std::vector<std::thread> threads;
  for (int t = 1; t < count; ++t) threads.emplace_back(work, t);
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

double peak_gflops(int threads) {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
  constexpr int64_t kSteps = 3'000'000;
  volatile float sink = 0;
  const Times t = timed([&] { on_threads(threads, [&](int) { sink = sink + fma_loop(kSteps); }); });
  return 2.0 * 8 * 12 * kSteps * threads / t.median / 1e9;
}
#else
double peak_gflops(int) { return 0; }
#endif

// Bytes read, or read and written, per nanosecond; 128 MiB each way, beyond what caches hold.
double read_gigabytes(int threads) {
  const std::vector<uint64_t> data(uint64_t{1} << 24, 1);
  const size_t share = data.size() / static_cast<size_t>(threads);
  volatile uint64_t sink = 0;
  const Times t = timed([&] {
    on_threads(threads, [&](int thread) {
      uint64_t sum[8] = {};
      const uint64_t* p = data.data() + static_cast<size_t>(thread) * share;
      for (size_t i = 0; i + 8 <= share; i += 8) {
        for (size_t j = 0; j < 8; ++j) sum[j] += p[i + j];
      }
      for (const uint64_t s : sum) sink = sink + s;
    });
  });
  return static_cast<double>(data.size()) * 8 / t.median / 1e9;
}

double copy_gigabytes(int threads) {
  const std::vector<uint64_t> from(uint64_t{1} << 24, 1);
  std::vector<uint64_t> to(from.size());
  const size_t share = from.size() / static_cast<size_t>(threads);
  const Times t = timed([&] {
    on_threads(threads, [&](int thread) {
      std::copy_n(from.begin() + static_cast<int64_t>(static_cast<size_t>(thread) * share), share,
                  to.begin() + static_cast<int64_t>(static_cast<size_t>(thread) * share));
    });
  });
  return static_cast<double>(from.size()) * 16 / t.median / 1e9;
}

struct Ceilings {
  double gflops, read, copy;
  double bandwidth() const { return std::max(read, copy); }
};

struct Line {
  const OpCase& c;
  std::string set;
  double of_limit;
  Times times;

  double gflops() const { return c.flops / times.median / 1e9; }
  double gigabytes() const { return c.bytes / times.median / 1e9; }
  std::string op() const { return c.name.substr(0, c.name.find(' ')); }
  std::string shape() const { return c.name.substr(c.name.find(' ') + 1); }
  const char* format() const {
    return c.record.w >= 0 ? dtype_name(c.weights[static_cast<size_t>(c.record.w)].parts[0].dtype) : "f32";
  }
};

double percent(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

void print(const Line& l, const Ceilings& ceilings, int threads) {
  std::printf("%-18s %-46s %-4s %-7s %d threads, error %4.2f of its limit, %9.3f ms ± %4.1f %%,", l.op().c_str(),
              l.shape().c_str(), l.format(), l.set.c_str(), threads, l.of_limit, l.times.median * 1e3,
              percent(l.times.spread, l.times.median));
  if (l.c.flops > 0)
    std::printf(" %7.1f GFLOP/s, %3.0f %% of the FMA loop", l.gflops(), percent(l.gflops(), ceilings.gflops));
  if (l.c.bytes > 0)
    std::printf("%s %6.1f GB/s, %3.0f %% of memory", l.c.flops > 0 ? "," : "", l.gigabytes(),
                percent(l.gigabytes(), ceilings.bandwidth()));
  std::printf("\n");
  std::fflush(stdout);
}

std::string processor() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

// Nothing written here needs an escape.
bool write_json(const char* path, const std::vector<Line>& lines, const Ceilings& ceilings, int threads) {
  std::ofstream out(path);
  out << "{\n  \"processor\": \"" << processor() << "\",\n  \"threads\": " << threads
      << ",\n  \"ceilings\": {\"fma_gflops\": " << ceilings.gflops << ", \"read_gbytes\": " << ceilings.read
      << ", \"copy_gbytes\": " << ceilings.copy << "},\n  \"ops\": [";
  for (size_t i = 0; i < lines.size(); ++i) {
    const Line& l = lines[i];
    out << (i ? ",\n" : "\n") << "    {\"op\": \"" << l.op() << "\", \"shape\": \"" << l.shape() << "\", \"format\": \""
        << l.format() << "\", \"set\": \"" << l.set << "\", \"threads\": " << threads
        << ", \"error_of_limit\": " << l.of_limit << ", \"median_ms\": " << l.times.median * 1e3
        << ", \"spread_ms\": " << l.times.spread * 1e3;
    if (l.c.flops > 0)
      out << ", \"gflops\": " << l.gflops() << ", \"percent_of_fma\": " << percent(l.gflops(), ceilings.gflops);
    if (l.c.bytes > 0)
      out << ", \"gbytes\": " << l.gigabytes()
          << ", \"percent_of_memory\": " << percent(l.gigabytes(), ceilings.bandwidth());
    out << "}";
  }
  out << "\n  ]\n}\n";
  return static_cast<bool>(out.flush());
}

}  // namespace

int time_ops(const std::vector<std::string>& sets, const std::vector<OpCase>& cases, const char* word,
             const char* json) {
  const int threads = usable_cpus();
  const Ceilings ceilings{peak_gflops(threads), read_gigabytes(threads), copy_gigabytes(threads)};
  std::printf(
      "ceilings of this run, %d threads: %.1f GFLOP/s (AVX2 FMA loop), %.1f GB/s reading, %.1f GB/s copying. ± is half "
      "the distance of the quartiles; what fits the caches can pass 100 %% of memory.\n",
      threads, ceilings.gflops, ceilings.read, ceilings.copy);
  const Device reference("reference", 1);
  std::vector<Line> lines;
  bool good = true;
  for (const OpCase& c : cases) {
    if (word && c.name.find(word) == std::string::npos) continue;
    const Outcome truth = run_case(reference, c);
    const Bounds bounds = bounds_of(c, truth);
    for (const std::string& set : sets) {
      const Device device(set, threads);
      Loaded loaded(device, c);
      const Comparison comparison = compare(c, bounds, loaded.run(), truth);
      if (!comparison.wrong.empty()) {
        std::printf("%s on %s is WRONG, not timed: %s\n", c.name.c_str(), set.c_str(), comparison.wrong.c_str());
        good = false;
        continue;
      }
      std::vector<nvlm_sampled> sampled(static_cast<size_t>(c.batch.outs));
      const nvlm_batch batch = c.batch.view(sampled.data());
      lines.push_back({c, set, comparison.of_limit, timed([&] { loaded.run(batch); })});
      print(lines.back(), ceilings, threads);
    }
  }
  if (json && !write_json(json, lines, ceilings, threads)) {
    std::printf("cannot write %s\n", json);
    return 1;
  }
  return good ? 0 : 1;
}

}  // namespace nvlm::test
