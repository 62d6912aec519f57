// Every golden case through the model itself, stage by stage, on every backend and instruction set: encoder, image
// tokens, cross tokens, intervals, decoder input, logits, greedy ids. Tiles are image_test's; prompts are the
// TypeScript tests'.
#include <algorithm>
#include <cmath>

#include "cpu/kernels.h"
#include "model/device.h"
#include "model/encoder.h"
#include "model/model.h"
#include "model/reconcile.h"
#include "model/routing.h"
#include "ops/weight_source.h"
#include "support/check.h"
#include "support/golden.h"
#include "support/golden_sequence.h"

using namespace nvlm;

namespace {

constexpr double kLimit = 1e-4;  // relative, float32 arithmetic (golden README: about 1e-5)

LoadOptions options_for(const test::GoldenCase& golden, const std::string& device, const std::string& set) {
  LoadOptions o;
  o.folder = golden.folder;
  o.device = device;
  o.instruction_set = set;
  o.max_sequences = 8;  // as many logit rows as the golden files hold
  return o;
}

// The encoder alone: its last hidden state without the class token, of the first tile.
void check_encoder(const test::GoldenCase& golden, const LoadOptions& options) {
  Device device(options);
  Checkpoint checkpoint = Checkpoint::open(options.folder);
  ModelConfig config = read_config(options.folder);
  reconcile(config, checkpoint);
  WeightTable weights(checkpoint);
  ProgramBuilder builder("encoder", weights, device.capabilities().activations);
  const EncoderWeights encoder = declare_encoder(weights, nvlm_tensor_names(config).encoder, config.vision);
  const Value x = record_encoder(builder, encoder, config.vision);
  const Program program = builder.finish(1, 0, 0, x);
  weights.upload(device, nullptr, nullptr);
  void* arena = nullptr;
  device.check(device.backend.alloc(device.handle, program.arena_bytes, &arena), "test");
  const nvlm_program view = program.view(weights, arena, {}, {});
  nvlm_plan* plan = nullptr;
  device.check(device.backend.compile(device.handle, &view, &plan), "test");
  nvlm_batch batch{};
  batch.tiles = 1;
  batch.pixels = golden["tiles1"].u8();
  device.check(device.backend.run(device.handle, plan, &batch, nullptr), "test");
  const test::GoldenTensor& expected = golden["vit1"];
  const int64_t count = expected.count();
  std::vector<float> got(static_cast<size_t>(count), NAN);
  const char* from = static_cast<const char*>(arena) + program.tensors[x.id].offset +
                     static_cast<size_t>(config.vision.hidden) * sizeof(float);
  device.check(device.backend.read(device.handle, got.data(), from, static_cast<uint64_t>(count) * sizeof(float)),
               "test");
  test::close(got.data(), expected.floats(), count, kLimit, "encoder output");
  device.backend.free_plan(device.handle, plan);
  device.backend.free(device.handle, arena, program.arena_bytes);
  weights.free(device);
}

void check_intervals(const test::GoldenCase& golden, const Routing& routing) {
  if (!golden.tensors.count("cross_mask")) {
    test::check(!routing.cross, "no cross-attention");
    return;
  }
  const test::GoldenTensor& mask = golden["cross_mask"];
  const int64_t rows = mask.shape[0], keys = mask.shape[1];
  bool same = rows == static_cast<int64_t>(routing.cross_begin.size());
  for (int64_t r = 0; same && r < rows; ++r) {
    for (int64_t k = 0; k < keys; ++k) {
      const bool sees = k >= routing.cross_begin[r] && k < routing.cross_end[r];
      if (sees != (mask.u8()[r * keys + k] != 0)) {
        test::check(false, "row " + std::to_string(r) + ", key " + std::to_string(k));
        return;
      }
    }
  }
  test::check(same, "intervals equal the mask");
}

// The rows an embedding would take: image tokens from `images`, the others from the stored table.
std::vector<float> embedded(const std::vector<Routing::Source>& sources, const std::vector<int32_t>& ids,
                            const std::vector<void*>& images, Checkpoint& checkpoint, const ModelConfig& config) {
  const int64_t hidden = config.decoder.hidden;
  const StoredTensor& table =
      checkpoint.get("language_model.model.embed_tokens.weight", {config.decoder.vocab, hidden});
  std::vector<float> out;
  for (size_t i = 0; i < sources.size(); ++i) {
    for (int64_t c = 0; c < hidden; ++c) {
      if (sources[i].image >= 0) {
        out.push_back(static_cast<const float*>(images[sources[i].image])[sources[i].row * hidden + c]);
        continue;
      }
      out.push_back(stored_value(table.data, table.dtype, ids[i] * hidden + c));
    }
  }
  return out;
}

void check_case(const std::string& name, const std::string& device, const std::string& set) {
  const test::GoldenCase golden = test::load_golden(name);
  const LoadOptions options = options_for(golden, device, set);
  if (golden.images()) check_encoder(golden, options);

  const std::unique_ptr<Model> model = Model::load(options, nullptr, nullptr);
  const Description& description = model->description();
  test::equal(model->measured().weights, description.memory.weights, "weights as planned");
  if (device == "reference") {  // all float32
    const ParameterCounts& p = description.parameters;
    test::equal(description.memory.weights, 4 * (p.encoder + p.projector + p.decoder + p.cross_attention),
                "each parameter is stored once");
    if (description.config.decoder.tied)
      test::equal(description.memory.weights, 4 * test::stored_elements(golden.folder + "/model.safetensors"),
                  "and is in the file once");
  }
  test::GoldenSequence sequence(*model, golden);
  const int64_t hidden = model->config().decoder.hidden, vocab = model->config().decoder.vocab;
  for (int i = 0; i < golden.images(); ++i) {
    const test::GoldenTensor& expected = golden["image_tokens" + std::to_string(i + 1)];
    test::close(static_cast<const float*>(sequence.images()[i]), expected.floats(), expected.count(), kLimit,
                "image tokens " + std::to_string(i + 1));
  }
  check_intervals(golden, sequence.routing());

  Checkpoint checkpoint = Checkpoint::open(options.folder);
  const std::vector<float> input =
      embedded(sequence.routing().sources, sequence.prompt().ids, sequence.images(), checkpoint, model->config());
  test::equal(static_cast<int64_t>(input.size()), golden["input_embeds"].count(), "size of the decoder input");
  test::close(input.data(), golden["input_embeds"].floats(), golden["input_embeds"].count(), kLimit, "decoder input");
  if (golden.tensors.count("cross_tokens")) {
    std::vector<Routing::Source> sources;
    std::vector<int32_t> ids;
    for (size_t image = 0; image < sequence.cross().size(); ++image) {
      for (const CrossToken& t : sequence.cross()[image]) {
        sources.push_back({t.token >= 0 ? -1 : static_cast<int32_t>(image), t.row});
        ids.push_back(t.token);
      }
    }
    const std::vector<float> cross = embedded(sources, ids, sequence.images(), checkpoint, model->config());
    test::equal(static_cast<int64_t>(cross.size()), golden["cross_tokens"].shape[0] * hidden,
                "size of the cross tokens");
    test::close(cross.data(), golden["cross_tokens"].floats(), golden["cross_tokens"].count(), kLimit, "cross tokens");
  }

  std::vector<float> logits = sequence.prefill(8);
  test::close(logits.data(), golden["last_logits"].floats(), 8 * vocab, kLimit, "last logits");
  std::vector<int32_t> greedy;
  const std::vector<int32_t> expected = golden.greedy_ids;
  auto position = static_cast<int>(sequence.prompt().ids.size());
  while (greedy.size() < expected.size()) {
    const auto last = logits.end() - vocab;
    greedy.push_back(static_cast<int32_t>(std::max_element(last, logits.end()) - last));
    logits = sequence.run({greedy.back()}, position++, 1);
  }
  test::check(greedy == expected, "greedy ids");
}

void check_step_rows(const std::string& device) {
  LoadOptions options = options_for(test::load_golden("x-text-only"), device, "");
  const auto rows = [&](int context, int sequences) {
    options.context_length = context;
    options.max_sequences = sequences;
    return Model::describe(options).options.step_rows;
  };
  test::equal(rows(512, 1), 256, "rows of a step");
  test::equal(rows(60, 3), 180, "all that can come");
  options.step_rows = 1;
  test::equal(rows(512, 8), 8, "a row of every sequence");
}

}  // namespace

int main() {
  std::vector<std::pair<std::string, std::string>> backends = {{"reference", ""}};
  for (const cpu::InstructionSet& set : cpu::instruction_sets()) backends.emplace_back("cpu", set.name);
  for (const auto& [device, set] : backends) {
    try {
      LoadOptions options;
      options.device = device;
      options.instruction_set = set;
      Device probe(options);
    } catch (const Error& error) {
      std::printf("skipped %s %s: %s\n", device.c_str(), set.c_str(), error.what());
      continue;
    }
    // A sanitized build is ten times slower: there the op cases of ops_test are enough for the set without vectors.
    if (std::getenv("NVLM_SANITIZE") && set == "generic" && backends.size() > 2) continue;
    for (const std::string& name : test::golden_names()) {
      test::run(name + " on " + device + " " + set, [&, d = device, s = set] { check_case(name, d, s); });
    }
  }
  for (const char* device : {"reference", "cpu"}) {
    test::run(std::string("a step takes as many rows as the device likes, or as can come, on ") + device,
              [&] { check_step_rows(device); });
  }
  return test::summary();
}
