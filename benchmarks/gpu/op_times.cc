// How fast is each op on this GPU, and what share of a ceiling measured in the same run is that? Shapes of NVLM-D-72B,
// Qwen2-7B and InternViT.
//
//   op_times [--json FILE] [--tiny] [WORD…]     --tiny: shapes for the emulator, whose times mean nothing; WORD: only
//     cases whose name contains one
//
// Launchers are driven directly. Buffers take turns beyond three times the second-level cache, so that operands come
// from memory as they do in a model; all launches of a measurement are one graph, as a step of decoding is. Before it
// is timed, each case's output is compared at sampled places with a double-precision computation from the same
// operands: one that is wrong has no time, and the exit code is 1. Built by scripts/gpu-check.sh, which puts the times
// beside those of cuBLAS and of PyTorch's attention (rivals.py: the same shapes by the same names). In the JSON file
// "op" is the op's number in ops.h, -1 where several are one launch or it is none of the table's:
// test/gpu-check.test.ts sees that every op has a line.
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

// A picture, InternViT's (300M, 6B) rows of seven tiles, and the projector's.
void add_encoder_cases(bool tiny, std::vector<Case>* all) {
  const auto add_picture = [&](PictureShape s) {
    if (tiny) s.width = 50, s.height = 41, s.columns = std::min(s.columns, 2), s.rows = 1, s.side = 28;
    all->emplace_back(s.name, [s](const Machine& m) { return resize(m, s); });
  };
  add_picture({"resize 1600x1200 to 3x2 tiles of 448", 1600, 1200, 3, 2, 448});
  add_picture({"resize 1600x1200 to a thumbnail of 448", 1600, 1200, 1, 1, 448});
  add_picture({"resize 4032x3024 to 3x2 tiles of 448", 4032, 3024, 3, 2, 448});
  const auto add_patches = [&](PatchShape s) {
    if (tiny) s.tiles = 2, s.side = 28, s.n = 64;
    all->emplace_back(s.name, [s](const Machine& m) { return patch_embed(m, s); });
  };
  add_patches({"patch embed 7x1025 x 1024", 7, 448, 14, 1024});
  add_patches({"patch embed 7x1025 x 3200", 7, 448, 14, 3200});
  const auto add_norm = [&](const std::string& name, nvlm_op op, int64_t rows, int64_t cols) {
    all->emplace_back(name, [=](const Machine& m) { return norm(m, name, op, tiny ? 3 : rows, tiny ? 64 : cols); });
  };
  add_norm("layer norm 7x1025 x 1024", NVLM_LAYER_NORM, 7 * 1025, 1024);
  add_norm("rms norm 7x1025 x 3200", NVLM_RMS_NORM, 7 * 1025, 3200);
  add_norm("rms norm 2048 x 8192", NVLM_RMS_NORM, 2048, 8192);
  add_norm("rms norm 2048 x 3584", NVLM_RMS_NORM, 2048, 3584);
  all->emplace_back("qk norm 7x1025 x 3200", [=](const Machine& m) {
    return qk_norm(m, "qk norm 7x1025 x 3200", tiny ? 3 : 7 * 1025, tiny ? 64 : 3200);
  });
  const auto add_shuffle = [&](ShuffleShape s) {
    if (tiny) s.tiles = 2, s.grid = 4, s.n = 64;
    all->emplace_back(s.name, [s](const Machine& m) { return pixel_shuffle_norm(m, s); });
  };
  add_shuffle({"pixel shuffle norm 7x256 x 4096", 7, 32, 2, 1024, false});
  add_shuffle({"pixel shuffle norm 7x256 x 12800, transposed", 7, 32, 2, 3200, true});
}

// Rows of a prompt, of the 72B and the 7B decoder; in cross pages, an image of seven tiles.
void add_row_cases(bool tiny, std::vector<Case>* all) {
  const auto add_cache = [&](CacheShape s, Line (*line)(const Machine&, const CacheShape&)) {
    if (tiny) s.rows = 70, s.heads = 4, s.kv_heads = 2, s.head_dim = 32;
    all->emplace_back(s.name, [s, line](const Machine& m) { return line(m, s); });
  };
  add_cache({"rope + kv write 2048, 64/8 heads of 128", 2048, 64, 8, 128}, rope_kv_write);
  add_cache({"rope + kv write 2048, 28/4 heads of 128", 2048, 28, 4, 128}, rope_kv_write);
  add_cache({"kv write 1792, 8 heads of 128", 1792, 64, 8, 128}, kv_write);
  add_cache({"kv write 1792, 4 heads of 128", 1792, 28, 4, 128}, kv_write);
  const auto add_embed = [&](EmbedShape s) {
    if (tiny) s.rows = 24, s.image_rows = s.image_rows ? 15 : 0, s.vocab = 512, s.n = 64;
    all->emplace_back(s.name, [s](const Machine& m) { return embed(m, s); });
  };
  add_embed({"embed 2048 x 8192, text", 2048, 0, 152064, 8192});
  add_embed({"embed 2048 x 3584, 1792 of an image", 2048, 1792, 152064, 3584});
  all->emplace_back("gather 256 of 2048 x 8192", [=](const Machine& m) {
    return gather_rows(m, "gather 256 of 2048 x 8192", tiny ? 5 : 256, tiny ? 24 : 2048, tiny ? 64 : 8192);
  });
}

void add_sample_cases(bool tiny, std::vector<Case>* all) {
  nvlm_sampling plain{};
  plain.temperature = 0.8f, plain.top_p = 1, plain.repetition_penalty = 1, plain.top_logprobs = -1;
  const auto add = [&](const std::string& words, const nvlm_sampling& options, int32_t history) {
    const std::string name = "sample " + words + " of 152064";
    all->emplace_back(name, [=](const Machine& m) {
      return sample(m, name, tiny ? 512 : 152064, options, tiny ? std::min(history, 64) : history);
    });
  };
  nvlm_sampling greedy = plain, top_p = plain, top_k = plain, min_p = plain;
  greedy.temperature = 0, top_p.top_p = 0.9f, top_k.top_k = 50, min_p.min_p = 0.5f;
  nvlm_sampling penalties = greedy;
  penalties.repetition_penalty = 0.9f, penalties.presence_penalty = 0.2f, penalties.frequency_penalty = 0.2f;
  nvlm_sampling every = penalties;
  every.temperature = 0.8f, every.top_k = 50, every.top_p = 0.9f, every.min_p = 0.05f,
  every.top_logprobs = NVLM_MAX_TOP_LOGPROBS;
  add("greedy", greedy, 0);
  add("top-p 0.9", top_p, 0);
  add("top-k 50", top_k, 0);
  add("min-p 0.5", min_p, 0);
  add("greedy, penalties over 4096,", penalties, 4096);
  add("with every filter, 20 logprobs,", every, 4096);
}

std::vector<Case> cases(bool tiny) {
  std::vector<Case> all;
  const auto add_product = [&](ProductShape s) {
    if (tiny) s.rows = std::min<int64_t>(s.rows, 40), s.n = 64, s.k = 136;
    all.emplace_back(s.name, [s](const Machine& m) { return product(m, s); });
  };
  const auto add_attention = [&](AttentionShape s) {
    const bool decode = s.rows == 1;
    if (tiny)
      s.sequences = std::min(s.sequences, 2), s.keys = 70,
      s.rows = decode                       ? 1
               : s.source == NVLM_KEYS_TILE ? 70
                                            : 24,
      s.tile_keys = s.tile_keys ? 10 : 0, s.heads = s.heads == s.kv_heads ? 2 : 4, s.kv_heads = 2;
    all.emplace_back(s.name, [s](const Machine& m) { return attention(m, s); });
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
    const ProductShape gate_up{"decode " + model + " norm + gate/up + swiglu", NVLM_LINEAR_SWIGLU, 1, tiny ? 64 : mlp,
                               tiny ? 136 : hidden};
    const QkvShape qkv{"decode " + model + " norm + qkv + rope + write", tiny ? 128 : hidden, tiny ? 4 : heads,
                       tiny ? 2 : kv_heads, tiny ? 32 : 128};
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
  // Of an image of seven tiles.
  add_attention({"cross attention 1024 x 1792, 64/8 heads of 128", NVLM_KEYS_CROSS, 1, 1024, 1792, 64, 8, 128, 256});
  add_attention({"cross attention 1024 x 1792, 28/4 heads of 128", NVLM_KEYS_CROSS, 1, 1024, 1792, 28, 4, 128, 256});
  add_attention({"cross attention decode 1792, 64/8 heads of 128", NVLM_KEYS_CROSS, 1, 1, 1792, 64, 8, 128});
  add_attention({"cross attention decode 1792, 28/4 heads of 128", NVLM_KEYS_CROSS, 1, 1, 1792, 28, 4, 128});
  add_encoder_cases(tiny, &all);
  add_row_cases(tiny, &all);
  add_sample_cases(tiny, &all);
  return all;
}

void print(const Line& l, double copy) {
  std::printf("%-48s %9.1f us ± %4.1f %%", l.name.c_str(), l.times.median * 1e6,
              l.times.median > 0 ? 100 * l.times.spread / l.times.median : 0);
  if (l.flops > 0) std::printf(" %8.1f TFLOP/s", l.flops / l.times.median / 1e12);
  std::printf(" %7.0f GB/s, %3.0f %% of device copy\n", l.bytes / l.times.median / 1e9,
              100 * l.bytes / l.times.median / copy);
  std::fflush(stdout);
}

bool write_json(const char* path, const Machine& machine, const std::vector<Line>& lines,
                const std::map<std::string, std::string>& wrong, double copy) {
  std::ofstream out(path);
  out << "{\"gpu\": \"" << machine.info.name << "\", \"capability\": \"" << machine.info.major << '.'
      << machine.info.minor << "\", \"copy_gbytes\": " << copy / 1e9 << ", \"ops\": [";
  for (size_t i = 0; i < lines.size(); ++i) {
    const Line& l = lines[i];
    out << (i ? ",\n" : "\n") << "{\"name\": \"" << l.name << "\", \"op\": " << l.op << ", \"bound\": \"" << l.bound
        << "\", \"us\": " << l.times.median * 1e6 << ", \"spread_us\": " << l.times.spread * 1e6
        << ", \"tflops\": " << l.flops / l.times.median / 1e12 << ", \"gbytes\": " << l.bytes / l.times.median / 1e9
        << "}";
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
    if (!words.empty() && std::none_of(words.begin(), words.end(),
                                       [&, n = name](const std::string& w) { return n.find(w) != std::string::npos; }))
      continue;
    try {
      lines.push_back(work(machine));
      print(lines.back(), copy);
    } catch (const std::exception& error) {
      wrong[name] = error.what();
      std::printf("%-48s WRONG, not timed: %s\n", name.c_str(), error.what());
      std::fflush(stdout);
    }
    trim();
    // Each time: the next may not end.
    if (json && !write_json(json, machine, lines, wrong, copy))
      throw std::runtime_error(std::string("cannot write ") + json);
  }
  destroy_stream(machine.stream);
#ifdef NVLM_EMULATOR
  if (!nvlm::emulator::fault().empty()) wrong["emulator"] = nvlm::emulator::fault();
#endif
  std::printf("%zu timed, %zu wrong\n", lines.size(), wrong.size());
  if (json && !write_json(json, machine, lines, wrong, copy))
    throw std::runtime_error(std::string("cannot write ") + json);
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