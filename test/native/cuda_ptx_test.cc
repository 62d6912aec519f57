// Every wrapper of native/cuda/ptx against what the PTX ISA says of its instruction, computed here in plain words; in
// the emulator, and on a GPU (built by scripts/gpu-check.sh). Between machines the values go through a file.
//
//   cuda_ptx_test                     the values are right
//   cuda_ptx_test --write FILE        and stand in FILE, as text
//   cuda_ptx_test --compare FILE      and are those of another machine
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>

#include "support/check.h"
#include "support/ptx_values.h"
#ifdef NVLM_EMULATOR
#include "emulator/control.h"
#endif

namespace {

using nvlm::test::PtxValues;

float as_float(uint32_t bits) { return std::bit_cast<float>(bits); }
float widened(uint32_t half) { return as_float(half << 16); }

// A GPU aligns the 17 terms of a sum of products to the largest and cuts what lies below 2^-23 of it, at most twice on
// its way through 16 products.
constexpr double kSumLimit = 2 * 17 * 0x1p-23;
// exp2_fast promises two units, reciprocal_fast one; another machine may be off by as many the other way.
constexpr int64_t kUnits = 2;

int64_t units_between(float a, float b) {
  const auto place = [](float x) {
    const auto bits = std::bit_cast<int32_t>(x);
    return static_cast<int64_t>(bits < 0 ? std::numeric_limits<int32_t>::min() - bits : bits);
  };
  return std::abs(place(a) - place(b));
}

bool is_nan(uint32_t half) { return (half & 0x7fff) > 0x7f80; }

// Whether `got` may stand where `expected` does; `size` is that of a sum's terms, `units` of the last place.
bool same(PtxValues::Kind kind, uint32_t got, uint32_t expected, double size, int64_t units) {
  const float g = as_float(got), e = as_float(expected);
  switch (kind) {
    case PtxValues::bits: return got == expected;
    case PtxValues::pairs:
      for (const int half : {0, 16}) {
        const uint32_t a = got >> half & 0xffff, b = expected >> half & 0xffff;
        if (a != b && !(is_nan(a) && is_nan(b))) return false;
      }
      return true;
    case PtxValues::sums: return std::isfinite(g) && std::abs(static_cast<double>(g) - e) <= kSumLimit * size;
    case PtxValues::close:
      if (e < std::numeric_limits<float>::min())
        return g == 0 || (g > 0 && g <= std::numeric_limits<float>::min());  // denormals may be flushed
      return std::isinf(e) || std::isinf(g) ? got == expected : units_between(g, e) <= units;
  }
  return false;
}

void compare(const PtxValues& values, const std::vector<uint32_t>& expected, int64_t units, const std::string& with) {
  if (!nvlm::test::equal(values.out.size(), expected.size(), values.name + ": values of " + with)) return;
  size_t wrong = 0, first = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (same(values.kind, values.out[i], expected[i], values.size.empty() ? 0 : values.size[i], units)) continue;
    if (wrong++ == 0) first = i;
  }
  char words[160];
  std::snprintf(words, sizeof words, ": %zu of %zu values differ from %s, first %zu: expected %08x but got %08x", wrong,
                expected.size(), with.c_str(), first, wrong ? expected[first] : 0, wrong ? values.out[first] : 0);
  nvlm::test::check(wrong == 0, values.name + words);
}

// ---- What the PTX ISA says ----

constexpr uint32_t kThreads = 128;
using Words = std::vector<uint32_t>;

Words streaming(const Words& in) {
  Words out;
  for (uint32_t t = 0; t < kThreads; ++t) {
    for (uint32_t i = 0; i < 4; ++i) out.push_back(in[4 * (t * 37 % kThreads) + i]);
  }
  return out;
}

Words barriers(const Words& in) {
  Words held(kThreads), out;
  for (uint32_t t = 0; t < kThreads; ++t) held[t] = t < 64 ? in[t] : in[t] ^ in[63 - (t - 64)];
  for (uint32_t t = 0; t < kThreads; ++t) out.push_back(held[t < 64 ? 63 - t : 64 + 127 - t]);
  return out;
}

Words counter(const Words& in) {
  const auto blocks = static_cast<uint32_t>(in.size() / kThreads);
  Words out(kThreads, 0);
  for (uint32_t t = 0; t < kThreads; ++t) {
    for (uint32_t block = 0; block < blocks; ++block) out[t] = 3 * out[t] + in[block * kThreads + t];
  }
  for (uint32_t block = 0; block < blocks; ++block) out.push_back(block + 1);
  return out;
}

Words walks(const Words& in) {
  const auto count = static_cast<uint32_t>(in.size());
  Words out;
  for (uint32_t thread = count; thread-- > 0;) {
    uint32_t at = thread;
    for (int step = 0; step < 64; ++step) at = in[at] % count;
    out.push_back(at);
  }
  return out;
}

Words copies(const Words& in) {
  Words out;
  for (uint32_t t = 0; t < kThreads; ++t) {
    for (uint32_t i = 0; i < 4; ++i) out.push_back(t % 3 == 0 ? 0 : in[4 * t + i]);
  }
  for (uint32_t t = kThreads; t-- > 0;) {
    for (uint32_t i = 0; i < 4; ++i) out.push_back(t % 3 == 1 ? 0 : in[4 * (kThreads + t) + i]);
  }
  return out;
}

// ldmatrix .x4: thread T gets of each matrix row T / 4, elements 2 (T mod 4) and the next; .trans: of the transposed
// matrix.
Words matrices(const Words& in, bool transposed) {
  const auto element = [&](uint32_t matrix, uint32_t row, uint32_t column) {
    if (transposed) std::swap(row, column);
    const uint32_t word = in[4 * (8 * matrix + row) + column / 2];
    return column % 2 ? word >> 16 : word & 0xffff;
  };
  Words out;
  for (uint32_t t = 0; t < 32; ++t) {
    for (uint32_t matrix = 0; matrix < 4; ++matrix)
      out.push_back(element(matrix, t / 4, 2 * (t % 4)) | element(matrix, t / 4, 2 * (t % 4) + 1) << 16);
  }
  return out;
}

// mma.m16n8k16, element i of a thread's fragment (groupID = T / 4, threadID_in_group = T mod 4):
//   A: row = groupID for 0 <= i < 2 or 4 <= i < 6, else groupID + 8; column = 2 threadID_in_group + (i & 1), + 8 for i
//     >= 4
//   B: row = 2 threadID_in_group + (i & 1), + 8 for i >= 2; column = groupID
//   C: row = groupID for i < 2, else groupID + 8; column = 2 threadID_in_group + (i & 1)
Words products(const Words& in, std::vector<float>* sizes) {
  Words out;
  for (size_t warp = 0; warp < in.size() / 320; ++warp) {
    std::array<std::array<double, 16>, 16> a{};
    std::array<std::array<double, 8>, 16> b{}, c{};
    for (uint32_t t = 0; t < 32; ++t) {
      const uint32_t* words = in.data() + 320 * warp + 10 * t;
      const uint32_t group = t / 4, inside = t % 4;
      const auto half = [&](const uint32_t* from, uint32_t i) {
        return widened(i % 2 ? from[i / 2] >> 16 : from[i / 2] & 0xffff);
      };
      for (uint32_t i = 0; i < 8; ++i)
        a[i < 2 || (i >= 4 && i < 6) ? group : group + 8][2 * inside + (i & 1) + (i >= 4 ? 8 : 0)] = half(words, i);
      for (uint32_t i = 0; i < 4; ++i) b[2 * inside + (i & 1) + (i >= 2 ? 8 : 0)][group] = half(words + 4, i);
      for (uint32_t i = 0; i < 4; ++i) c[i < 2 ? group : group + 8][2 * inside + (i & 1)] = as_float(words[6 + i]);
    }
    for (uint32_t t = 0; t < 32; ++t) {
      for (uint32_t i = 0; i < 4; ++i) {
        const uint32_t row = i < 2 ? t / 4 : t / 4 + 8, column = 2 * (t % 4) + (i & 1);
        double sum = c[row][column], size = std::abs(sum);
        for (uint32_t k = 0; k < 16; ++k) {
          sum += a[row][k] * b[k][column];
          size += std::abs(a[row][k] * b[k][column]);
        }
        out.push_back(std::bit_cast<uint32_t>(static_cast<float>(sum)));
        sizes->push_back(static_cast<float>(size));
      }
    }
  }
  return out;
}

// cvt.rn.bf16: of the two neighbours the nearer, of two equally near the even one. Found by trying both.
uint32_t nearest(uint32_t bits) {
  const float x = as_float(bits);
  if (std::isnan(x)) return 0x7fc0;
  const uint32_t below = bits >> 16, above = below + 1;  // in magnitude
  if (std::isinf(x)) return below;
  // Beyond the largest stands the value that one more would have: infinity takes its place.
  const double low = widened(below), high = (above & 0x7fff) == 0x7f80 ? std::copysign(0x1p128, x) : widened(above);
  const double to_low = std::abs(x - low), to_high = std::abs(high - x);
  if (to_low != to_high) return to_low < to_high ? below : above;
  return below % 2 == 0 ? below : above;
}

Words pairs(const Words& in) {
  Words out;
  for (size_t i = 0; i < in.size(); i += 2) out.push_back(nearest(in[i]) | nearest(in[i + 1]) << 16);
  return out;
}

// `f` in double, rounded.
Words values_of(double (*f)(double), const Words& in) {
  Words out;
  for (const uint32_t x : in) out.push_back(std::bit_cast<uint32_t>(static_cast<float>(f(as_float(x)))));
  return out;
}

void check_values(std::vector<PtxValues>& all) {
  for (PtxValues& v : all) {
    Words truth;
    if (v.name == "load_streaming") truth = streaming(v.in);
    if (v.name == "barrier") truth = barriers(v.in);
    if (v.name == "add_acquire_release") truth = counter(v.in);
    if (v.name == "wait_for_earlier_launches") truth = walks(v.in);
    if (v.name == "copy_async") truth = copies(v.in);
    if (v.name == "load_matrices") truth = matrices(v.in, false);
    if (v.name == "load_matrices_transposed") truth = matrices(v.in, true);
    if (v.name == "mma") truth = products(v.in, &v.size);
    if (v.name == "round_pair") truth = pairs(v.in);
    if (v.name == "exp2_fast") truth = values_of([](double x) { return std::exp2(x); }, v.in);
    if (v.name == "reciprocal_fast") truth = values_of([](double x) { return 1 / x; }, v.in);
    compare(v, truth, kUnits, "what the PTX ISA says");
  }
}

// ---- Between machines ----

constexpr uint64_t kSeed = 20260131;

// One line a wrapper: its name, how many words, the words in hexadecimal.
void write(const std::vector<PtxValues>& all, const char* path) {
  std::ofstream out(path);
  for (const PtxValues& v : all) {
    out << v.name << ' ' << std::dec << v.out.size() << std::hex;
    for (const uint32_t word : v.out) out << ' ' << word;
    out << '\n';
  }
  nvlm::test::check(static_cast<bool>(out.flush()), std::string("writes ") + path);
}

void compare_with(const std::vector<PtxValues>& all, const char* path) {
  std::ifstream in(path);
  for (const PtxValues& v : all) {
    std::string name;
    size_t count = 0;
    in >> name >> std::dec >> count >> std::hex;
    if (!nvlm::test::check(static_cast<bool>(in) && name == v.name && count == v.out.size(),
                           std::string(path) + " has the values of " + v.name))
      return;
    Words expected(count);
    for (uint32_t& word : expected) in >> word;
    if (!nvlm::test::check(static_cast<bool>(in), std::string(path) + " is whole")) return;
    compare(v, expected, 2 * kUnits, path);
    std::printf("%-26s %zu values as %s has them\n", v.name.c_str(), count, path);
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace nvlm::test;
  std::vector<PtxValues> all;
#ifdef NVLM_EMULATOR
  using nvlm::emulator::Completion;
  for (const auto& [seed, completion] : {std::pair{uint64_t{1}, Completion::early},
                                         {uint64_t{2}, Completion::late},
                                         {uint64_t{3}, Completion::random},
                                         {uint64_t{4}, Completion::random}}) {
    run("schedule " + std::to_string(seed), [&, seed = seed, completion = completion] {
      nvlm::emulator::Settings settings;
      settings.seed = seed;
      settings.completion = completion;
      nvlm::emulator::configure(settings);
      all = ptx_values(seed == 4 ? kSeed : kSeed + seed);
      check_values(all);
      nvlm::test::equal(nvlm::emulator::fault(), std::string(), "fault");
      nvlm::test::equal(nvlm::emulator::live_allocations(), uint64_t{0}, "live allocations");
      nvlm::test::equal(nvlm::emulator::counters().matrix_conflicts, uint64_t{0}, "bank conflicts of ldmatrix");
    });
  }
#else
  run("on the GPU", [&] {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      all = ptx_values(kSeed + seed);
      check_values(all);
    }
    all = ptx_values(kSeed);
    check_values(all);
  });
#endif
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--write") == 0) run("write", [&] { write(all, argv[i + 1]); });
    if (std::strcmp(argv[i], "--compare") == 0) run("compare", [&] { compare_with(all, argv[i + 1]); });
  }
  return summary();
}
