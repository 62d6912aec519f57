// The encoder's dummy heads (spec section 2) are dropped at load once they are seen to be zero. What could break: heads
// dropped from the wrong end, parts of q, k and v mixed up, the bias forgotten, a value that matters dropped in
// silence, a plan that still counts them. golden_test holds the same checkpoint against the reference.
#include <cstring>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "model/checkpoint.h"
#include "model/model.h"
#include "support/check.h"
#include "support/golden.h"
#include "support/scratch_folder.h"

using namespace nvlm;
using namespace nvlm::test;

namespace {

// The golden encoder: 2 layers, 2 heads of 64 that count, 2 dummy heads behind them.
constexpr int64_t kHidden = 128, kStored = 256, kLayers = 2;
const std::string kLast = "vision_model.encoder.layers.1.attn.";

// The checkpoint with its tensors as float32, to be changed and written again.
struct Tensors {
  struct Tensor {
    std::vector<int64_t> shape;
    std::vector<float> values;
  };
  std::map<std::string, Tensor> all;

  float& at(const std::string& name, int64_t row, int64_t col = 0) {
    Tensor& tensor = all.at(name);
    return tensor.values.at(static_cast<size_t>(row * (tensor.shape.size() > 1 ? tensor.shape[1] : 1) + col));
  }
};

Tensors golden_tensors() {
  const Checkpoint checkpoint = Checkpoint::open(load_golden("d-dummy-heads").folder);
  Tensors out;
  for (const auto& [name, stored] : checkpoint.tensors()) {
    Tensors::Tensor tensor{stored.shape, {}};
    for (uint64_t i = 0; i < stored.bytes / 2; ++i) {  // all are bfloat16
      uint16_t half = 0;
      std::memcpy(&half, stored.data + 2 * i, 2);
      const uint32_t bits = static_cast<uint32_t>(half) << 16;
      float value = 0;
      std::memcpy(&value, &bits, 4);
      tensor.values.push_back(value);
    }
    out.all[name] = std::move(tensor);
  }
  return out;
}

// A biased qkv, as the golden cases with dummy heads have none.
Tensors with_bias(Tensors tensors) {
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    Tensors::Tensor bias{{3 * kStored}, std::vector<float>(3 * kStored, 0.0f)};
    for (int64_t i = 0; i < 3 * kStored; ++i) {
      if (i % kStored < kHidden)
        bias.values[static_cast<size_t>(i)] = 0.01f * static_cast<float>((i * 37 + layer) % 41 - 20);
    }
    tensors.all["vision_model.encoder.layers." + std::to_string(layer) + ".attn.qkv.bias"] = std::move(bias);
  }
  return tensors;
}

// The same checkpoint stored without dummy heads.
Tensors without_dummies(Tensors tensors) {
  for (auto& [name, tensor] : tensors.all) {
    if (name.find(".attn.") == std::string::npos || name.find("proj.bias") != std::string::npos) continue;
    const bool columns = name.find("proj.weight") != std::string::npos, qkv = name.find("qkv") != std::string::npos;
    const int64_t cols = tensor.shape.size() > 1 ? tensor.shape[1] : 1;
    std::vector<float> kept;
    for (int64_t i = 0; i < static_cast<int64_t>(tensor.values.size()); ++i) {
      if ((columns ? i % cols : i / cols % kStored) < kHidden) kept.push_back(tensor.values[static_cast<size_t>(i)]);
    }
    tensor.values = std::move(kept);
    (columns ? tensor.shape[1] : tensor.shape[0]) = qkv ? 3 * kHidden : kHidden;
  }
  return tensors;
}

struct Folder {
  explicit Folder(const Tensors& tensors) : scratch("dummy-heads") {
    nlohmann::json header;
    std::string data;
    for (const auto& [name, tensor] : tensors.all) {
      const size_t begin = data.size();
      data.append(reinterpret_cast<const char*>(tensor.values.data()), tensor.values.size() * sizeof(float));
      header[name] = {{"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
    }
    const std::string text = header.dump();
    const uint64_t length = text.size();
    scratch.write("model.safetensors", std::string(reinterpret_cast<const char*>(&length), 8) + text + data);
    const std::vector<char> config = read_file(load_golden("d-dummy-heads").folder + "/config.json");
    scratch.write("config.json", std::string(config.begin(), config.end()));
    options.folder = scratch.path();
    options.context_length = 64;
    options.max_sequences = 1;
  }
  ScratchFolder scratch;
  LoadOptions options;
};

std::vector<float> image_tokens(const Tensors& tensors) {
  const GoldenCase golden = load_golden("d-dummy-heads");
  const Folder folder(tensors);
  const std::unique_ptr<Model> model = Model::load(folder.options, nullptr, nullptr);
  test::equal(model->measured().weights, model->description().memory.weights, "weights take what was planned");
  const auto tiles = static_cast<int>(golden["tiles1"].shape[0]);
  std::vector<float> tokens(
      static_cast<size_t>(tiles * model->config().tokens_per_tile() * model->config().decoder.hidden), NAN);
  auto* memory = static_cast<float*>(model->alloc_image(tiles));
  model->encode(golden["tiles1"].u8(), tiles, memory, nullptr);
  std::copy_n(memory, tokens.size(), tokens.begin());
  model->free_image(memory, tiles);
  return tokens;
}

void refused(const Tensors& tensors, const std::string& tensor, int64_t row) {
  const Folder folder(tensors);
  Model::describe(folder.options);  // looks at headers alone
  test::throws("corrupt-checkpoint", {tensor + " ", "row " + std::to_string(row) + ",", "num_attention_heads"},
               [&] { Model::load(folder.options, nullptr, nullptr); });
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

int main() {
  const Tensors golden = golden_tensors(), biased = with_bias(golden);

  run("dropping the heads at load gives the very tokens of a checkpoint stored without them", [&] {
    const std::vector<float> plain = image_tokens(golden), plus_bias = image_tokens(biased);
    check(same(plain, image_tokens(without_dummies(golden))), "without bias");
    check(same(plus_bias, image_tokens(without_dummies(biased))), "with bias");
    check(!same(plain, plus_bias), "the bias matters");
    const GoldenCase reference = load_golden("d-dummy-heads");
    const GoldenTensor& expected = reference["image_tokens1"];
    test::close(plain.data(), expected.floats(), expected.count(), 1e-4, "image tokens of the reference");
  });

  run("plan, program and parameter count are those of the heads that count", [&] {
    const Folder with(biased), without(without_dummies(biased));
    const Description got = Model::describe(with.options), expected = Model::describe(without.options);
    test::equal(got.parameters.encoder, expected.parameters.encoder, "encoder parameters");
    test::equal(got.memory.weights, expected.memory.weights, "weights");
    test::equal(got.memory.activations, expected.memory.activations, "activations");
    constexpr int64_t mlp = 256, pixels = 3 * 14 * 14, positions = 65;
    const int64_t layer = 2 * kHidden + 3 * kHidden * (kHidden + 1) + 2 * kHidden + kHidden * (kHidden + 1) +
                          mlp * (kHidden + 1) + kHidden * (mlp + 1) + 2 * kHidden;
    test::equal(static_cast<int64_t>(got.parameters.encoder),
                kLayers * layer + kHidden * (pixels + 1) + kHidden + positions * kHidden,
                "encoder parameters, by hand");
  });

  run("a dummy head that is not zero is refused with tensor and row, wherever the value stands", [&] {
    for (int64_t part = 0; part < 3; ++part) {
      for (const int64_t row : {part * kStored + kHidden, part * kStored + kStored - 1}) {
        for (const int64_t col : {int64_t{0}, kHidden - 1}) {
          Tensors tensors = biased;
          tensors.at(kLast + "qkv.weight", row, col) = std::numeric_limits<float>::denorm_min();
          refused(tensors, kLast + "qkv.weight", row);
        }
        Tensors tensors = biased;
        tensors.at(kLast + "qkv.bias", row) = NAN;
        refused(tensors, kLast + "qkv.bias", row);
      }
    }
  });

  run("bfloat16 dummy heads are looked at too", [] {
    const GoldenCase golden_case = load_golden("d-dummy-heads");
    std::vector<char> file = read_file(golden_case.folder + "/model.safetensors");
    const std::string name = kLast + "qkv.weight";
    uint64_t header_bytes = 0;
    std::memcpy(&header_bytes, file.data(), 8);
    const nlohmann::json header =
        nlohmann::json::parse(file.begin() + 8, file.begin() + 8 + static_cast<int64_t>(header_bytes));
    const auto begin = header.at(name).at("data_offsets").at(0).get<int64_t>();
    const int64_t row = 2 * kStored + kHidden + 3,
                  at = 8 + static_cast<int64_t>(header_bytes) + begin + (row * kHidden + 5) * 2;
    const auto load = [&] {
      ScratchFolder scratch("dummy-heads");
      scratch.write("model.safetensors", std::string(file.begin(), file.end()));
      const std::vector<char> config = read_file(golden_case.folder + "/config.json");
      scratch.write("config.json", std::string(config.begin(), config.end()));
      LoadOptions options;
      options.folder = scratch.path();
      Model::load(options, nullptr, nullptr);
    };
    file[static_cast<size_t>(at + 1)] = '\x80';
    load();  // -0
    file[static_cast<size_t>(at)] = 1;
    test::throws("corrupt-checkpoint", {name, "model.safetensors", "row " + std::to_string(row)}, load);
  });

  run("what meets only zeros may hold anything; what counts is never taken for a dummy", [&] {
    const std::vector<float> expected = image_tokens(biased);
    Tensors tensors = biased;
    for (int64_t row = 0; row < kHidden; ++row)
      tensors.at(kLast + "proj.weight", row, kStored - 1) = tensors.at(kLast + "proj.weight", row, kHidden) = 1e30f;
    tensors.at(kLast + "q_norm.weight", kHidden) = tensors.at(kLast + "k_norm.weight", kStored - 1) = 1e30f;
    tensors.at(kLast + "qkv.weight", kHidden, 0) = -0.0f;
    check(same(image_tokens(tensors), expected), "columns of proj, tails of the norms, -0");
    for (int64_t part = 0; part < 3; ++part) {
      for (const int64_t row : {part * kStored, part * kStored + kHidden - 1}) {
        Tensors changed = biased;
        for (int64_t col = 0; col < kHidden; ++col) changed.at(kLast + "qkv.weight", row, col) += 0.5f;
        check(!same(image_tokens(changed), expected), "row " + std::to_string(row) + " counts");
      }
    }
  });
  return summary();
}
