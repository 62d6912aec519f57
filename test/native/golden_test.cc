// Every golden case through the model itself, stage by stage, on every backend and instruction set: encoder, image tokens, cross tokens, intervals,
// decoder input, logits, greedy ids. Tiles are image_test's; prompts are the TypeScript tests'.
#include <algorithm>
#include <cmath>

#include "model/blueprint.h"
#include "model/model.h"
#include "model/routing.h"
#include "ops/host_backend.h"
#include "support/check.h"
#include "support/golden.h"

using namespace nvlm;

namespace {

constexpr double kLimit = 1e-4;  // relative, float32 arithmetic (golden README: about 1e-5)

// The golden tokenizer's ids of the marks, each tokenized alone: "<Image>", "</Image>", "<tile_global_thumbnail>", "<tile_k>" with one digit.
const std::vector<int32_t> kImageEnd = {282, 263, 29}, kThumbnailTag = {259, 281, 280, 29};
constexpr int32_t kPad = 383;
std::vector<int32_t> tile_tag(int k) { return {259, 62, 15 + k, 29}; }

int32_t find(const std::vector<int32_t>& ids, const std::vector<int32_t>& what, int32_t from) {
  const auto at = std::search(ids.begin() + from, ids.end(), what.begin(), what.end());
  return at == ids.end() ? -1 : static_cast<int32_t>(at - ids.begin());
}

// What lib/prompt.ts prepares, found again in the golden ids.
Prompt prompt_of(const test::GoldenCase& golden, const ModelConfig& config) {
  Prompt p;
  p.ids = golden.ids();
  const int32_t per_tile = config.tokens_per_tile();
  int32_t at = 0;
  for (int32_t image = 0; image < golden.images(); ++image) {
    const auto tiles = static_cast<int32_t>(golden["tiles" + std::to_string(image + 1)].shape[0]);
    p.image_tiles.push_back(tiles);
    for (int32_t tile = 0; tile < tiles; ++tile) {
      if (config.family == Family::H && tile < tiles - 1) continue;
      if (config.family == Family::X) {
        const std::vector<int32_t> tag = tile == tiles - 1 ? kThumbnailTag : tile_tag(tile + 1);
        at = find(p.ids, tag, at);
        p.tags.push_back({at, static_cast<int32_t>(tag.size()), image, tile});
      } else {
        at = find(p.ids, std::vector<int32_t>(per_tile, kPad), at);
        p.slots.push_back({at, image, tile});
        at += per_tile;
      }
    }
    if (config.family == Family::D) {
      p.image_ends.push_back(at);
    } else {
      at = find(p.ids, kImageEnd, at) + static_cast<int32_t>(kImageEnd.size());
      p.image_ends.push_back(at);
    }
  }
  return p;
}

// One sequence run by hand: the smallest driver of Model there can be.
class Sequence {
 public:
  Sequence(Model& model, const test::GoldenCase& golden) : model_(model), prompt_(prompt_of(golden, model.config())) {
    for (int i = 0; i < golden.images(); ++i) {
      const test::GoldenTensor& tiles = golden["tiles" + std::to_string(i + 1)];
      images_.push_back(model.alloc_image(prompt_.image_tiles[i]));
      model.encode(tiles.u8(), prompt_.image_tiles[i], images_.back(), nullptr);
    }
    std::vector<int32_t> counts;
    for (const int32_t tiles : prompt_.image_tiles) {
      cross_.push_back(cross_tokens(model.config(), tiles, {tile_tag(1), tile_tag(2), tile_tag(3), tile_tag(4), tile_tag(5), tile_tag(6)}));
      counts.push_back(static_cast<int32_t>(cross_.back().size()));
    }
    routing_ = route(model.config(), prompt_, counts);
    for (size_t i = 0; i < cross_.size(); ++i) project(i);
    const int32_t pages = model.self_page_count();
    for (int32_t p = 0; p < pages; ++p) self_page_.push_back(pages - 1 - p);  // out of order on purpose
  }
  ~Sequence() {
    for (size_t i = 0; i < images_.size(); ++i) model_.free_image(images_[i], prompt_.image_tiles[i]);
  }

  const Prompt& prompt() const { return prompt_; }
  const Routing& routing() const { return routing_; }
  const std::vector<float*>& images() const { return images_; }
  const std::vector<std::vector<CrossToken>>& cross() const { return cross_; }

  // Runs the whole prompt in chunks and returns the logits of its last `outs` rows.
  std::vector<float> prefill(int outs) {
    const auto positions = static_cast<int>(prompt_.ids.size());
    std::vector<float> logits;
    for (int first = 0; first < positions;) {
      int count = std::min(Model::kMaxRows, positions - first);
      if (positions - first - count > 0 && positions - first - count < outs) count -= outs;  // the last chunk holds all wanted rows
      const bool last = first + count == positions;
      logits = run(std::vector<int32_t>(prompt_.ids.begin() + first, prompt_.ids.begin() + first + count), first, last ? outs : 0);
      first += count;
    }
    return logits;
  }

  // Runs tokens at positions from `first`; those behind the prompt see what its last position sees.
  std::vector<float> run(const std::vector<int32_t>& tokens, int first, int outs) {
    const size_t rows = tokens.size();
    std::vector<const float*> source(rows, nullptr);
    std::vector<int32_t> position, self_begin(rows, 0), self_end, cross_begin, cross_end, out_row;
    std::vector<int64_t> slot;
    for (size_t r = 0; r < rows; ++r) {
      const auto at = static_cast<int32_t>(first + static_cast<int>(r));
      const size_t routed = std::min<size_t>(static_cast<size_t>(at), routing_.sources.size() - 1);
      const Routing::Source s = static_cast<size_t>(at) < routing_.sources.size() ? routing_.sources[routed] : Routing::Source{-1, 0};
      if (s.image >= 0) source[r] = images_[s.image] + static_cast<int64_t>(s.row) * model_.config().decoder.hidden;
      position.push_back(at);
      self_end.push_back(at + 1);
      cross_begin.push_back(routing_.cross_begin[routed]);
      cross_end.push_back(routing_.cross_end[routed]);
      slot.push_back(static_cast<int64_t>(self_page_[at / NVLM_PAGE_KEYS]) * NVLM_PAGE_KEYS + at % NVLM_PAGE_KEYS);
    }
    for (int o = 0; o < outs; ++o) out_row.push_back(static_cast<int32_t>(rows) - outs + o);
    const int32_t keys = first + static_cast<int32_t>(rows), pages = (keys + NVLM_PAGE_KEYS - 1) / NVLM_PAGE_KEYS;
    std::vector<int32_t> fill(pages, NVLM_PAGE_KEYS);
    fill.back() = keys - (pages - 1) * NVLM_PAGE_KEYS;
    const int32_t self_begin_of[2] = {0, pages}, row_begin[2] = {0, static_cast<int32_t>(rows)}, cross_pages[2] = {0, static_cast<int32_t>(cross_page_.size())};
    nvlm_batch batch{};
    batch.rows = static_cast<int64_t>(rows);
    batch.outs = outs;
    batch.sequences = 1;
    batch.token = tokens.data();
    batch.source = source.data();
    batch.position = position.data();
    batch.kv_slot = slot.data();
    batch.self_begin = self_begin.data();
    batch.self_end = self_end.data();
    batch.cross_begin = cross_begin.data();
    batch.cross_end = cross_end.data();
    batch.row_begin = row_begin;
    batch.self_pages = {self_begin_of, self_page_.data(), fill.data()};
    batch.cross_pages = {cross_pages, cross_page_.data(), cross_fill_.data()};
    batch.out_row = out_row.data();
    model_.step(batch, routing_.cross, nullptr);
    std::vector<float> logits(static_cast<size_t>(outs) * static_cast<size_t>(model_.config().decoder.vocab), NAN);
    if (outs) model_.read_logits(logits.data(), outs);
    return logits;
  }

 private:
  void project(size_t image) {
    const std::vector<CrossToken>& tokens = cross_[image];
    for (size_t first = 0; first < tokens.size(); first += NVLM_PAGE_KEYS) {  // a page at a time
      const size_t count = std::min<size_t>(NVLM_PAGE_KEYS, tokens.size() - first);
      const auto page = static_cast<int32_t>(model_.cross_page_count() - 1 - static_cast<int>(cross_page_.size()));
      std::vector<int32_t> token(count);
      std::vector<const float*> source(count, nullptr);
      std::vector<int64_t> slot(count);
      for (size_t t = 0; t < count; ++t) {
        const CrossToken& c = tokens[first + t];
        token[t] = std::max(c.token, 0);
        if (c.token < 0) source[t] = images_[image] + static_cast<int64_t>(c.row) * model_.config().decoder.hidden;
        slot[t] = static_cast<int64_t>(page) * NVLM_PAGE_KEYS + static_cast<int64_t>(t);
      }
      nvlm_batch batch{};
      batch.rows = static_cast<int64_t>(count);
      batch.token = token.data();
      batch.source = source.data();
      batch.kv_slot = slot.data();
      model_.project_cross(batch, nullptr);
      cross_page_.push_back(page);
      cross_fill_.push_back(static_cast<int32_t>(count));
    }
  }

  Model& model_;
  Prompt prompt_;
  Routing routing_;
  std::vector<float*> images_;
  std::vector<std::vector<CrossToken>> cross_;
  std::vector<int32_t> self_page_, cross_page_, cross_fill_;
};

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
  ProgramBuilder builder("encoder", weights);
  const EncoderWeights encoder = declare_encoder(weights, config.vision);
  const Value x = record_encoder(builder, encoder, config.vision);
  const Program program = builder.finish(1, 0, 0, {x});
  weights.upload(device.backend, device.handle, nullptr, nullptr);
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
  const char* from = static_cast<const char*>(arena) + program.tensors[x.id].offset + static_cast<size_t>(config.vision.hidden) * sizeof(float);
  device.check(device.backend.read(device.handle, got.data(), from, static_cast<uint64_t>(count) * sizeof(float)), "test");
  test::close(got.data(), expected.floats(), count, kLimit, "encoder output");
  device.backend.free_plan(device.handle, plan);
  device.backend.free(device.handle, arena, program.arena_bytes);
  weights.free(device.backend, device.handle);
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
std::vector<float> embedded(const std::vector<Routing::Source>& sources, const std::vector<int32_t>& ids, const std::vector<float*>& images, Checkpoint& checkpoint,
                            const ModelConfig& config) {
  const int64_t hidden = config.decoder.hidden;
  const StoredTensor& table = checkpoint.get("language_model.model.embed_tokens.weight", {config.decoder.vocab, hidden});
  std::vector<float> out;
  for (size_t i = 0; i < sources.size(); ++i) {
    for (int64_t c = 0; c < hidden; ++c) {
      if (sources[i].image >= 0) {
        out.push_back(images[sources[i].image][sources[i].row * hidden + c]);
        continue;
      }
      out.push_back(host::stored_value(table.data, table.dtype, ids[i] * hidden + c));
    }
  }
  return out;
}

void check_case(const std::string& name, const std::string& device, const std::string& set) {
  const test::GoldenCase golden = test::load_golden(name);
  const LoadOptions options = options_for(golden, device, set);
  if (golden.images()) check_encoder(golden, options);

  const std::unique_ptr<Model> model = Model::load(options, nullptr, nullptr);
  Sequence sequence(*model, golden);
  const int64_t hidden = model->config().decoder.hidden, vocab = model->config().decoder.vocab;
  for (int i = 0; i < golden.images(); ++i) {
    const test::GoldenTensor& expected = golden["image_tokens" + std::to_string(i + 1)];
    test::close(sequence.images()[i], expected.floats(), expected.count(), kLimit, "image tokens " + std::to_string(i + 1));
  }
  check_intervals(golden, sequence.routing());

  Checkpoint checkpoint = Checkpoint::open(options.folder);
  const std::vector<float> input = embedded(sequence.routing().sources, sequence.prompt().ids, sequence.images(), checkpoint, model->config());
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
    test::equal(static_cast<int64_t>(cross.size()), golden["cross_tokens"].shape[0] * hidden, "size of the cross tokens");
    test::close(cross.data(), golden["cross_tokens"].floats(), golden["cross_tokens"].count(), kLimit, "cross tokens");
  }

  std::vector<float> logits = sequence.prefill(8);
  test::close(logits.data(), golden["last_logits"].floats(), 8 * vocab, kLimit, "last logits");
  std::vector<int32_t> greedy;
  const std::vector<int32_t> expected = golden.greedy_ids();
  auto position = static_cast<int>(sequence.prompt().ids.size());
  while (greedy.size() < expected.size()) {
    const auto last = logits.end() - vocab;
    greedy.push_back(static_cast<int32_t>(std::max_element(last, logits.end()) - last));
    logits = sequence.run({greedy.back()}, position++, 1);
  }
  test::check(greedy == expected, "greedy ids");
}

}  // namespace

int main() {
  const std::pair<std::string, std::string> backends[] = {{"reference", ""}, {"cpu", "generic"}, {"cpu", "avx2"}};
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
    for (const std::string& name : test::golden_names()) {
      test::run(name + " on " + device + " " + set, [&, d = device, s = set] { check_case(name, d, s); });
    }
  }
  return test::summary();
}
