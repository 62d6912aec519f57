// GELU and SiLU of native/cuda/activation.cuh against double, over every bf16 value and between: a wrong coefficient,
// an argument outside the fit, overflow.
#include "cuda/activation.cuh"

#include <bit>
#include <limits>
#include <string>
#include <vector>

#include "cuda/bf16.h"
#include "support/activations.h"
#include "support/check.h"

namespace {

using namespace nvlm;

std::vector<float> arguments() {
  std::vector<float> all;
  for (uint32_t half = 0; half < 0x10000; ++half) {
    if ((half & 0x7fff) < 0x7f80) all.push_back(std::bit_cast<float>(half << 16));
  }
  for (int i = -200000; i <= 200000; ++i) all.push_back(static_cast<float>(i) * 1e-4f);
  return all;
}

template <typename Limit>
void hold(const char* name, float (*f)(float), double (*truth)(double), const Limit& limit) {
  double worst = 0;
  float where = 0;
  for (const float x : arguments()) {
    const double share = std::abs(f(x) - truth(x)) / limit(x);
    if (share <= worst) continue;
    worst = share, where = x;
    if (!(share <= 1)) break;  // a NaN too
  }
  test::check(worst <= 1,
              std::string(name) + "(" + std::to_string(where) + ") is off by " + std::to_string(worst) + " limits");
}

void check_gelu() {
  hold("gelu", gpu::gelu, test::gelu,
       [](double x) { return test::gelu_error(x) + 0x1p-23 * std::abs(test::gelu(x)) + 1e-44; });
}

void check_silu() {
  hold("silu", gpu::silu, test::silu, [](double x) { return 0x1p-21 * std::abs(test::silu(x)) + 1e-35; });
}

void check_ends() {
  const float infinity = std::numeric_limits<float>::infinity(), none = std::numeric_limits<float>::quiet_NaN();
  test::check(std::isnan(gpu::gelu(none)) && std::isnan(gpu::silu(none)), "a NaN stays one");
  test::check(!std::isfinite(gpu::gelu(infinity)) && !std::isfinite(gpu::silu(infinity)),
              "an infinite sum does not become a number");
}

}  // namespace

int main() {
  test::run("gelu", check_gelu);
  test::run("silu", check_silu);
  test::run("ends", check_ends);
  return test::summary();
}
