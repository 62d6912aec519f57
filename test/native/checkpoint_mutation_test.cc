// 10,000 seeded mutations of golden checkpoints (single, sharded) and their configs. Each ends in an Error of a known
// code or in a correct open: every tensor inside its file, of the size its shape says, and what the header says by an
// independent reading. Meant for the sanitizers: files are placed so that a read outside them is poisoned memory.
//
//   NVLM_MUTATION_SEED=n   another series; a failure prints the number that repeats it alone with NVLM_MUTATION_COUNT=1
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "model/checkpoint.h"
#include "model/config.h"
#include "model/reconcile.h"
#include "support/check.h"
#include "support/families.h"
#include "support/golden.h"
#include "support/poison.h"

using namespace nvlm;
using namespace nvlm::test;
using nlohmann::json;

namespace {

// ---- Files ----

// A safetensors file in memory as [slack | length and header | data]: a new header needs no copy of the data.
class WeightFile {
 public:
  explicit WeightFile(const std::vector<char>& bytes) {
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), 8);
    header_.assign(bytes.begin() + 8, bytes.begin() + 8 + static_cast<std::ptrdiff_t>(length));
    data_bytes_ = bytes.size() - 8 - header_.size();
    buffer_.resize(kSlack + data_bytes_);
    std::memcpy(buffer_.data() + kSlack, bytes.data() + 8 + length, data_bytes_);
  }
  ~WeightFile() { unpoison(buffer_.data(), buffer_.size()); }

  const std::string& header() const { return header_; }
  std::uint64_t data_bytes() const { return data_bytes_; }

  // The file with this header, this length field, and cut to `size` bytes; all else in the buffer is poisoned until the
  // next call.
  std::span<const std::byte> place(const std::string& header, std::uint64_t length, std::uint64_t size) {
    unpoison(buffer_.data(), buffer_.size());
    char* const begin = buffer_.data() + kSlack - 8 - header.size();
    std::memcpy(begin, &length, 8);
    std::memcpy(begin + 8, header.data(), header.size());
    size = std::min<std::uint64_t>(size, 8 + header.size() + data_bytes_);
    poison(buffer_.data(), static_cast<std::size_t>(begin - buffer_.data()));
    poison(begin + size, static_cast<std::size_t>(buffer_.data() + buffer_.size() - begin - size));
    return std::as_bytes(std::span(begin, static_cast<std::size_t>(size)));
  }

  static constexpr std::size_t kSlack = 1 << 17;

 private:
  std::string header_;
  std::uint64_t data_bytes_ = 0;
  std::vector<char> buffer_;
};

struct Case {
  std::string config, index;
  std::map<std::string, WeightFile> weights;
};

Case load_case(const std::string& name, const std::vector<std::string>& files, bool sharded) {
  const std::string folder = load_golden(name).folder + "/";
  const auto text = [&](const std::string& file) {
    const auto bytes = read_file(folder + file);
    return std::string(bytes.begin(), bytes.end());
  };
  Case c{text("config.json"), sharded ? text("model.safetensors.index.json") : "", {}};
  for (const std::string& file : files) c.weights.try_emplace(file, read_file(folder + file));
  return c;
}

// ---- Mutations ----

class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : random_(seed) {}

  std::size_t below(std::size_t n) { return n == 0 ? 0 : static_cast<std::size_t>(random_() % n); }

  // Any text: bits, ranges, numbers.
  void damage(std::string& text) {
    if (text.empty()) return;
    switch (below(7)) {
      case 0:
        for (std::size_t n = 1 + below(8); n > 0; --n) text[below(text.size())] ^= static_cast<char>(1 << below(8));
        break;
      case 1: text.resize(below(text.size())); break;
      case 2: text.erase(below(text.size()), 1 + below(64)); break;
      case 3: {
        const std::string piece = text.substr(below(text.size()), 1 + below(200));
        text.insert(below(text.size()), piece);
        break;
      }
      case 4: {
        std::string noise(1 + below(16), ' ');
        for (char& c : noise) c = static_cast<char>(random_());
        text.insert(below(text.size()), noise);
        break;
      }
      case 5: text.insert(below(text.size()), std::string(1 + below(2000), "[{\"0,:"[below(6)])); break;
      default: replace_number(text);
    }
  }

  // JSON with one value exchanged for something hostile, one key removed, renamed or doubled, or two values of a kind
  // swapped.
  void damage_json(std::string& text) {
    json value = json::parse(text, nullptr, false);
    if (!value.is_object() || value.empty()) return damage(text);
    json* parent = &value;
    while (true) {  // walk to a random object or array
      auto child = parent->begin();
      std::advance(child, static_cast<std::ptrdiff_t>(below(parent->size())));
      if (!child->is_structured() || child->empty() || below(4) == 0) {
        switch (below(4)) {
          case 0: *child = hostile(); break;
          case 1: parent->erase(child); break;
          case 2: {
            auto other = parent->begin();
            std::advance(other, static_cast<std::ptrdiff_t>(below(parent->size())));
            std::swap(*child, *other);
            break;
          }
          default:
            if (parent->is_object()) {
              (*parent)[child.key() + "x"] = *child;
            } else {
              parent->push_back(*child);
            }
        }
        break;
      }
      parent = &*child;
    }
    text = value.dump();
  }

  // One tensor's dtype, shape or offsets, or one file name of an index.
  void damage_entry(std::string& text) {
    json header = json::parse(text, nullptr, false);
    if (!header.is_object() || header.empty()) return damage(text);
    json& entries = header.contains("weight_map") ? header["weight_map"] : header;
    if (!entries.is_object() || entries.empty()) return damage(text);
    auto pick = entries.begin(), other = entries.begin();
    std::advance(pick, static_cast<std::ptrdiff_t>(below(entries.size())));
    std::advance(other, static_cast<std::ptrdiff_t>(below(entries.size())));
    static const char* const kNames[] = {
        "../model.safetensors", "/etc/passwd", "config.json", "model-00009-of-00002.safetensors", "", ".",
        "a\0b.safetensors"};
    static const char* const kTypes[] = {"F32", "F16", "BF16", "F64", "I8", "U8", "bf16", "", "Q8", "F8_E4M3"};
    if (pick->is_string()) {
      if (below(2)) {
        *pick = kNames[below(std::size(kNames))];
      } else {
        std::swap(*pick, *other);
      }
    } else if (pick->is_object() && pick->contains("shape") && (*pick)["shape"].is_array() &&
               pick->contains("data_offsets") && (*pick)["data_offsets"].size() == 2) {
      json &shape = (*pick)["shape"], &offsets = (*pick)["data_offsets"];
      switch (below(7)) {
        case 0: (*pick)["dtype"] = kTypes[below(std::size(kTypes))]; break;
        case 1:
          if (!shape.empty()) shape[below(shape.size())] = hostile();
          break;
        case 2: shape = {hostile(), hostile(), hostile()}; break;
        case 3: offsets[below(2)] = hostile(); break;
        case 4:  // still the right length, but somewhere else: overlap, hole or outside
          if (offsets[0].is_number_unsigned() && offsets[1].is_number_unsigned()) {
            const std::uint64_t shift = std::uint64_t{1} << below(40);
            for (json& offset : offsets) offset = offset.get<std::uint64_t>() + shift;
          }
          break;
        case 5: std::swap(*pick, *other); break;
        default:  // the same bytes under another shape: must open
          if (shape.size() == 2) std::swap(shape[0], shape[1]);
      }
    }
    text = header.dump();
  }

  json hostile() {
    static const json kValues[] = {-1,
                                   0,
                                   1,
                                   7,
                                   2147483647,
                                   2147483648u,
                                   4294967295u,
                                   4294967296,
                                   9223372036854775807,
                                   9223372036854775808u,
                                   18446744073709551615u,
                                   1e30,
                                   -0.0,
                                   0.25,
                                   nullptr,
                                   true,
                                   "",
                                   "F32",
                                   json::array(),
                                   json::object(),
                                   {1, 2, 3},
                                   4611686018427387905};
    return below(4) == 0 ? json(static_cast<std::uint64_t>(random_()) >> below(64))
                         : kValues[below(std::size(kValues))];
  }

  std::uint64_t length(std::uint64_t right, std::uint64_t file) {
    const std::uint64_t values[] = {0,
                                    1,
                                    right - 1,
                                    right + 1,
                                    file,
                                    file - 8,
                                    file - 7,
                                    ~std::uint64_t{0},
                                    ~std::uint64_t{0} - 7,
                                    std::uint64_t{1} << 63,
                                    random_(),
                                    random_() % (file + 1)};
    return values[below(std::size(values))];
  }

 private:
  void replace_number(std::string& text) {
    const std::size_t from = text.find_first_of("0123456789", below(text.size()));
    if (from == std::string::npos) return;
    const std::size_t to = std::min(text.find_first_not_of("0123456789", from), text.size());
    text.replace(from, to - from, hostile().dump());
  }

  std::mt19937_64 random_;
};

// ---- What must hold of a checkpoint that opened ----

struct Placed {
  std::span<const std::byte> bytes;
  std::string header;
};

std::uint64_t touched = 0;  // sum of the first and last bytes of all tensors, printed so that the reads stay

// Empty, or what is wrong.
std::string examine(const Checkpoint& checkpoint, const std::map<std::string, Placed>& files) {
  std::map<std::string, json> headers;
  std::map<std::string, std::set<std::pair<const std::byte*, const std::byte*>>> ranges;
  for (const auto& [name, t] : checkpoint.tensors()) {
    const auto file = files.find(t.file);
    if (file == files.end()) return name + " comes from no file";
    const Placed& placed = file->second;
    long double bytes = t.dtype == NVLM_F32 ? 4 : 2;  // exact up to 2^64, and never wraps
    for (const std::int64_t extent : t.shape) {
      if (extent < 0) return name + " has a negative size";
      bytes *= static_cast<long double>(extent);
    }
    if (bytes != static_cast<long double>(t.bytes)) return name + " has bytes that do not fit its shape";
    const std::byte *const begin = placed.bytes.data(), *const end = begin + placed.bytes.size();
    if (t.data < begin || t.data > end || t.bytes > static_cast<std::uint64_t>(end - t.data))
      return name + " lies outside its file";
    if (t.bytes > 0) {
      touched += std::to_integer<unsigned>(t.data[0]) + std::to_integer<unsigned>(t.data[t.bytes - 1]);
      if (!ranges[t.file].emplace(t.data, t.data + t.bytes).second) return name + " shares its bytes";
    }
    // The header, read again without the code under test.
    if (!headers.contains(t.file)) headers[t.file] = json::parse(placed.header);
    const json& entry = headers[t.file].at(name);
    const std::uint64_t data_begin = placed.bytes.size() >= 8 ? 8 + placed.header.size() : 0;
    if (t.data != begin + data_begin + entry.at("data_offsets").at(0).get<std::uint64_t>())
      return name + " starts elsewhere than its header says";
    if (t.shape != entry.at("shape").get<std::vector<std::int64_t>>())
      return name + " has another shape than its header says";
    const std::string dtype = entry.at("dtype");
    if (dtype != (t.dtype == NVLM_F32 ? "F32" : t.dtype == NVLM_F16 ? "F16" : "BF16"))
      return name + " has another dtype than its header says";
  }
  for (const auto& [file, sorted] : ranges) {
    const std::byte* reached = nullptr;
    for (const auto& [begin, end] : sorted) {
      if (begin < reached) return "tensors of " + file + " overlap";
      reached = end;
    }
  }
  return "";
}

std::string examine(const ModelConfig& c) {
  const auto& [vision, decoder] = std::tie(c.vision, c.decoder);
  const bool sizes =
      vision.hidden > 0 && vision.heads > 0 && vision.head_dim % 8 == 0 &&
      vision.head_dim * vision.heads == vision.hidden && vision.layers >= 0 && vision.layers <= vision.stored_layers &&
      vision.mlp > 0 && vision.patch > 0 && vision.attention_width >= vision.hidden && decoder.hidden > 0 &&
      decoder.heads > 0 && decoder.kv_heads > 0 && decoder.heads % decoder.kv_heads == 0 && decoder.head_dim > 0 &&
      decoder.head_dim % 8 == 0 && decoder.layers > 0 && decoder.mlp > 0 && decoder.vocab > 0 &&
      decoder.max_positions > 0 && c.tokens_per_tile() > 0 && c.min_tiles > 0 && c.min_tiles <= c.max_tiles &&
      c.tile_size == vision.image_size && c.tile_size % vision.patch == 0 && c.projector.hidden > 0;
  if (!sizes) return "a size is out of range";
  if (!(vision.eps > 0 && vision.eps <= 1 && decoder.eps > 0 && decoder.eps <= 1 && decoder.rope_theta > 1))
    return "a number is out of range";
  if ((c.family == kNvlmD) != c.cross.layers.empty()) return "cross layers do not fit the family";
  for (const int layer : c.cross.layers) {
    if (layer < 0 || layer >= decoder.layers) return "a cross layer is out of range";
  }
  if (!c.cross.layers.empty() &&
      !(c.cross.heads > 0 && c.cross.kv_heads > 0 && c.cross.heads % c.cross.kv_heads == 0 && c.cross.head_dim > 0))
    return "cross heads are out of range";
  return "";
}

// ---- The series ----

std::uint64_t from_environment(const char* name, std::uint64_t fallback) {
  const char* const text = std::getenv(name);
  return text == nullptr ? fallback : std::strtoull(text, nullptr, 10);
}

std::map<std::string, int> outcomes;

void one_mutation(Case& c, bool sharded, std::uint64_t seed) {
  Mutator mutator(seed);
  std::string config = c.config, index = c.index;
  struct Shape {
    std::string header;
    bool wrong_length = false, cut = false;
  };
  std::map<std::string, Shape> shapes;
  for (const auto& [name, file] : c.weights) shapes[name] = {file.header()};

  // ---- One to three mutations, of one kind of file each ----
  for (std::size_t n = 1 + mutator.below(3); n > 0; --n) {
    auto pick = shapes.begin();
    std::advance(pick, static_cast<std::ptrdiff_t>(mutator.below(shapes.size())));
    const std::size_t kind = mutator.below(10);
    if (kind < 2) {
      mutator.below(3) == 0 ? mutator.damage(config) : mutator.damage_json(config);
    } else if (kind < 4 && sharded) {
      mutator.below(2)   ? mutator.damage_entry(index)
      : mutator.below(2) ? mutator.damage(index)
                         : mutator.damage_json(index);
    } else if (kind == 4) {
      pick->second.cut = true;
    } else if (kind == 5) {
      pick->second.wrong_length = true;
    } else if (kind == 6) {
      mutator.damage(pick->second.header);
    } else if (kind == 7) {
      mutator.damage_json(pick->second.header);
    } else {
      mutator.damage_entry(pick->second.header);
    }
  }
  std::map<std::string, Placed> placed;
  for (auto& [name, shape] : shapes) {
    if (shape.header.size() > WeightFile::kSlack - 8) shape.header.resize(WeightFile::kSlack - 8);
    WeightFile& file = c.weights.at(name);
    const std::uint64_t whole = 8 + shape.header.size() + file.data_bytes();
    const std::uint64_t length = shape.wrong_length ? mutator.length(shape.header.size(), whole) : shape.header.size();
    const std::uint64_t size =
        shape.cut ? (mutator.below(2) ? whole - 1 - mutator.below(16) : mutator.below(whole)) : whole;
    const auto bytes = file.place(shape.header, length, size);
    // What a reader of that length would take for the header.
    const std::uint64_t seen = bytes.size() < 8 ? 0 : std::min<std::uint64_t>(length, bytes.size() - 8);
    placed[name] = {
        bytes,
        seen == 0 ? "" : std::string(reinterpret_cast<const char*>(bytes.data()) + 8, static_cast<std::size_t>(seen))};
  }

  // ---- Open and look ----
  static const std::set<std::string> kCodes = {"corrupt-checkpoint", "unsupported-dtype",  "file-not-found",
                                               "not-a-checkpoint",   "unsupported-config", "unsupported-architecture"};
  const std::string repeat = " (NVLM_MUTATION_SEED=" + std::to_string(seed) + " NVLM_MUTATION_COUNT=1)";
  const auto attempt = [&](const std::string& what, const std::function<std::string()>& action) {
    std::string wrong;
    try {
      wrong = action();
      ++outcomes[what + ": opened"];
    } catch (const Error& error) {
      if (!kCodes.contains(error.code())) wrong = "the code " + error.code();
      if (std::string(error.what()).size() < 20) wrong = "a message of no use";
      ++outcomes[what + ": " + error.code()];
    } catch (const std::exception& error) {
      wrong = std::string("another exception: ") + error.what();
    }
    check(wrong.empty(), what + ": " + wrong + repeat);
  };
  std::optional<Checkpoint> checkpoint;
  attempt("weights", [&] {
    checkpoint = Checkpoint::open_from(
        [&](const std::string& name) -> std::optional<std::span<const std::byte>> {
          if (name == "model.safetensors.index.json" && sharded)
            return std::as_bytes(std::span(index.data(), index.size()));
          const auto file = placed.find(name);
          return file == placed.end() ? std::nullopt : std::optional(file->second.bytes);
        },
        "golden");
    return examine(*checkpoint, placed);
  });
  attempt("config", [&] {
    // Exactly as large as the text, without the zero byte of a std::string behind it.
    const std::vector<char> exact(config.begin(), config.end());
    ModelConfig parsed = parse_config({exact.data(), exact.size()}, "config.json");
    if (checkpoint) reconcile(parsed, *checkpoint);
    return examine(parsed);
  });
}

}  // namespace

int main() {
  const std::uint64_t seed = from_environment("NVLM_MUTATION_SEED", 20240917);
  // A sanitized build is ten times slower: it takes as many as reach, with config_test and checkpoint_test, every
  // branch of the parsers that all of them do.
  const std::uint64_t count = from_environment("NVLM_MUTATION_COUNT", std::getenv("NVLM_SANITIZE") ? 2000 : 10000);
  run("mutated checkpoints are refused or open correctly", [&] {
    Case single = load_case("x-forged-text", {"model.safetensors"}, false);
    std::vector<std::string> shards;
    const Checkpoint whole = Checkpoint::open(load_golden("h-head128-sharded").folder);
    for (const auto& [name, tensor] : whole.tensors()) shards.push_back(tensor.file);
    std::sort(shards.begin(), shards.end());
    shards.erase(std::unique(shards.begin(), shards.end()), shards.end());
    Case sharded = load_case("h-head128-sharded", shards, true);
    for (std::uint64_t s = seed; s < seed + count; ++s) one_mutation(s % 4 == 0 ? sharded : single, s % 4 == 0, s);
  });
  // A series in which nothing opens, or nothing is refused, tests little.
  for (const auto& [outcome, times] : outcomes) std::printf("%7d  %s\n", times, outcome.c_str());
  std::printf("%7llu  sum of touched bytes\n", static_cast<unsigned long long>(touched));
  if (count >= 10000) {
    for (const char* outcome : {"weights: opened", "weights: corrupt-checkpoint", "weights: unsupported-dtype",
                                "weights: file-not-found", "config: opened", "config: corrupt-checkpoint",
                                "config: unsupported-config", "config: unsupported-architecture"}) {
      check(outcomes[outcome] >= 10, std::string(outcome) + " at least ten times");
    }
  }
  return summary();
}
