// How fast is each op on this GPU, and what share of a ceiling measured in the same run is that? Shapes of NVLM-D-72B, Qwen2-7B and InternViT.
//
//   op_times [--json FILE] [--tiny] [WORD…]     --tiny: shapes for the emulator, whose times mean nothing; WORD: only cases whose name contains one
//
// Launchers are driven directly. Buffers take turns beyond three times the second-level cache, so that operands come from memory as they do in a model; all
// launches of a measurement are one graph, as a step of decoding is. Before it is timed, each case's output is compared at sampled places with a
// double-precision computation from the same operands: one that is wrong has no time, and the exit code is 1. Built by scripts/gpu-check.sh, which
// puts the times beside those of cuBLAS and of PyTorch's attention (rivals.py: the same shapes by the same names).
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "op_cases.h"
#ifdef NVLM_EMULATOR
#include "emulator/control.h"
#endif

namespace {

using namespace nvlm::gpu;
using namespace nvlm::times;

using Case = std::pair<std::string, std::function<Line(const Machine&)>>;

std::vector<Case> cases(bool tiny) {
  std::vector<Case> all;
  const auto add_product = [&](ProductShape s) {
    if (tiny) s.rows = std::min<int64_t>(s.rows, 40), s.n = 64, s.k = 136;
    all.emplace_back(s.name, [s](const Machine& m) { return product(m, s); });
  };
  const auto add_attention = [&](AttentionShape s) {
    const bool decode = s.rows == 1;
    if (tiny) s.sequences = std::min(s.sequences, 2), s.keys = 70, s.rows = decode ? 1 : s.source == NVLM_KEYS_TILE ? 70 : 20, s.heads = s.heads == s.kv_heads ? 2 : 4, s.kv_heads = 2;
    all.emplace_back(s.name, [s](const Machine& m) { return attention(m, s); });
  };
  const auto add_norm = [&](const std::string& name, int64_t rows, int64_t cols) {
    all.emplace_back(name, [=](const Machine& m) { return rms_norm(m, name, tiny ? 3 : rows, tiny ? 64 : cols); });
  };
  add_product({"gemm 4096", NVLM_LINEAR, 4096, 4096, 4096});
  add_product({"gemm 8192", NVLM_LINEAR, 8192, 8192, 8192});
  add_product({"encoder 6B up + gelu", NVLM_LINEAR_GELU, 7 * 1025, 12800, 3200});
  add_product({"prefill 7B gate/up + swiglu", NVLM_LINEAR_SWIGLU, 2048, 18944, 3584});
  add_product({"skinny 16 72B o", NVLM_LINEAR, 16, 8192, 8192});
  add_product({"gemv 72B qkv", NVLM_LINEAR, 1, 10240, 8192});
  add_product({"gemv 72B o", NVLM_LINEAR, 1, 8192, 8192});
  add_product({"gemv 72B gate/up + swiglu", NVLM_LINEAR_SWIGLU, 1, 29568, 8192});
  add_product({"gemv 72B down", NVLM_LINEAR, 1, 8192, 29568});
  add_product({"gemv 72B logits", NVLM_LOGITS, 1, 152064, 8192});
  // A layer's launches in a step of one row, beside attention: what is fused into them counts.
  const auto add_layer = [&](const std::string& model, int64_t hidden, int32_t heads, int32_t kv_heads, int64_t mlp) {
    const ProductShape gate_up{"decode " + model + " norm + gate/up + swiglu", NVLM_LINEAR_SWIGLU, 1, tiny ? 64 : mlp, tiny ? 136 : hidden};
    const QkvShape qkv{"decode " + model + " norm + qkv + rope + write", tiny ? 128 : hidden, tiny ? 4 : heads, tiny ? 2 : kv_heads, tiny ? 32 : 128};
    all.emplace_back(qkv.name, [qkv](const Machine& m) { return norm_qkv_rope_write(m, qkv); });
    add_product({"decode " + model + " o + residual", NVLM_LINEAR_RESIDUAL, 1, hidden, hidden});
    all.emplace_back(gate_up.name, [gate_up](const Machine& m) { return norm_product(m, gate_up); });
    add_product({"decode " + model + " down + residual", NVLM_LINEAR_RESIDUAL, 1, hidden, mlp});
  };
  add_layer("72B", 8192, 64, 8, 29568);
  add_layer("7B", 3584, 28, 4, 18944);
  add_product({"gemv of 4 rows, 72B o", NVLM_LINEAR, 4, 8192, 8192});
  add_attention({"attention tiles 7x1025, 16 heads of 64", NVLM_KEYS_TILE, 7, 1025, 1025, 16, 16, 64});
  add_attention({"attention tiles 7x1025, 25 heads of 128", NVLM_KEYS_TILE, 7, 1025, 1025, 25, 25, 128});
  add_attention({"attention prefill 2048, 64/8 heads of 128", NVLM_KEYS_SELF, 1, 2048, 2048, 64, 8, 128});
  add_attention({"attention decode 4096, 64/8 heads of 128", NVLM_KEYS_SELF, 1, 1, 4096, 64, 8, 128});
  add_attention({"attention decode 4096, 28/4 heads of 128", NVLM_KEYS_SELF, 1, 1, 4096, 28, 4, 128});
  add_attention({"attention decode 16 x 4096, 64/8 heads of 128", NVLM_KEYS_SELF, 16, 1, 4096, 64, 8, 128});
  add_norm("rms norm 2048 x 8192", 2048, 8192);
  const int64_t vocab = tiny ? 512 : 152064;
  all.emplace_back("sample greedy of 152064", [=](const Machine& m) { return sample(m, "sample greedy of 152064", vocab, 0, 1); });
  all.emplace_back("sample top-p 0.9 of 152064", [=](const Machine& m) { return sample(m, "sample top-p 0.9 of 152064", vocab, 0.8f, 0.9f); });
  return all;
}

void print(const Line& l, double copy) {
  std::printf("%-48s %9.1f us ± %4.1f %%", l.name.c_str(), l.times.median * 1e6, l.times.median > 0 ? 100 * l.times.spread / l.times.median : 0);
  if (l.flops > 0) std::printf(" %8.1f TFLOP/s", l.flops / l.times.median / 1e12);
  std::printf(" %7.0f GB/s, %3.0f %% of device copy\n", l.bytes / l.times.median / 1e9, 100 * l.bytes / l.times.median / copy);
  std::fflush(stdout);
}

bool write_json(const char* path, const Machine& machine, const std::vector<Line>& lines, const std::map<std::string, std::string>& wrong, double copy) {
  std::ofstream out(path);
  out << "{\"gpu\": \"" << machine.info.name << "\", \"capability\": \"" << machine.info.major << '.' << machine.info.minor << "\", \"copy_gbytes\": " << copy / 1e9 << ", \"ops\": [";
  for (size_t i = 0; i < lines.size(); ++i) {
    const Line& l = lines[i];
    out << (i ? ",\n" : "\n") << "{\"name\": \"" << l.name << "\", \"bound\": \"" << l.bound << "\", \"us\": " << l.times.median * 1e6 << ", \"spread_us\": " << l.times.spread * 1e6
        << ", \"tflops\": " << l.flops / l.times.median / 1e12 << ", \"gbytes\": " << l.bytes / l.times.median / 1e9 << "}";
  }
  out << "], \"wrong\": [";
  bool first = true;
  for (const auto& [name, words] : wrong) {
    out << (first ? "" : ", ") << "\"" << name << ": " << words << "\"";
    first = false;
  }
  out << "]}\n";
  return static_cast<bool>(out.flush());
}

int run(bool tiny, const char* json, const std::vector<std::string>& words) {
  Machine machine;
  machine.tiny = tiny;
#ifdef NVLM_EMULATOR
  nvlm::emulator::configure({});
#endif
  expect(use_device(0), "the GPU");
  expect(device_info(0, &machine.info), "the GPU");
  expect(create_stream(&machine.stream), "a stream");
  std::vector<Line> lines = {device_copy(machine)};
  const double copy = lines[0].bytes / lines[0].times.median;
  print(lines[0], copy);
  std::map<std::string, std::string> wrong;
  for (const auto& [name, work] : cases(tiny)) {
    if (!words.empty() && std::none_of(words.begin(), words.end(), [&, n = name](const std::string& w) { return n.find(w) != std::string::npos; })) continue;
    try {
      lines.push_back(work(machine));
      print(lines.back(), copy);
    } catch (const std::exception& error) {
      wrong[name] = error.what();
      std::printf("%-48s WRONG, not timed: %s\n", name.c_str(), error.what());
      std::fflush(stdout);
    }
    trim();
    if (json && !write_json(json, machine, lines, wrong, copy)) throw std::runtime_error(std::string("cannot write ") + json);  // each time: the next may not end
  }
  destroy_stream(machine.stream);
#ifdef NVLM_EMULATOR
  if (!nvlm::emulator::fault().empty()) wrong["emulator"] = nvlm::emulator::fault();
#endif
  std::printf("%zu timed, %zu wrong\n", lines.size(), wrong.size());
  if (json && !write_json(json, machine, lines, wrong, copy)) throw std::runtime_error(std::string("cannot write ") + json);
  return wrong.empty() && lines.size() > 1 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  bool tiny = false;
  const char* json = nullptr;
  std::vector<std::string> words;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--tiny") == 0) {
      tiny = true;
    } else if (std::strcmp(argv[i], "--json") == 0 && i + 1 < argc) {
      json = argv[++i];
    } else {
      words.emplace_back(argv[i]);
    }
  }
  try {
    return run(tiny, json, words);
  } catch (const std::exception& error) {
    std::printf("op_times: %s\n", error.what());
    return 1;
  }
}