#include "model/checkpoint.h"

#include <nlohmann/json.hpp>

#include "model/printable.h"
#include "model/safetensors.h"
#include "platform/error.h"

namespace nvlm {
namespace {

using nlohmann::json;

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr std::size_t kMaxIndexBytes = std::size_t{4} << 20;
constexpr std::size_t kMaxShards = 4096;

[[noreturn]] void corrupt(const std::string& message) { throw Error("corrupt-checkpoint", message); }

// A shard is a file of the folder itself: a name that could lead elsewhere is refused.
bool is_plain_file_name(const std::string& name) {
  if (name.empty() || name.size() > 255 || name == "." || name == ".." || !name.ends_with(".safetensors")) return false;
  for (const char c : name) {
    const bool plain =
        (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' || c == '_' || c == '.';
    if (!plain) return false;
  }
  return true;
}

// tensor name -> shard file, from the index.
std::map<std::string, std::string> parse_index(std::span<const std::byte> bytes) {
  const std::string advice = ". Download or copy the checkpoint again.";
  if (bytes.size() > kMaxIndexBytes)
    corrupt(std::string("The file ") + kIndex + " has " + std::to_string(bytes.size()) +
            " bytes, more than an index needs" + advice);
  const char* const text = reinterpret_cast<const char*>(bytes.data());
  const json index = json::parse(text, text + bytes.size(), nullptr, /*allow_exceptions=*/false);
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (!index.is_object() || map == index.end() || !map->is_object()) {
    corrupt(std::string("The file ") + kIndex + " holds no JSON object with a weight_map" + advice);
  }
  std::map<std::string, std::string> files;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string() || !is_plain_file_name(file.get_ref<const std::string&>())) {
      const std::string shown = file.is_string() ? printable(file.get<std::string>()) : "not a string";
      corrupt(std::string("The weight_map of ") + kIndex + " names the file '" + shown + "' for the tensor '" +
              printable(tensor) + "', but a shard is a *.safetensors file of the same folder" + advice);
    }
    files.emplace(tensor, file.get<std::string>());
  }
  if (files.empty()) corrupt(std::string("The weight_map of ") + kIndex + " is empty" + advice);
  return files;
}

nvlm_dtype supported_dtype(const SafetensorsEntry& entry, const std::string& file) {
  if (entry.dtype == "BF16") return NVLM_BF16;
  if (entry.dtype == "F16") return NVLM_F16;
  if (entry.dtype == "F32") return NVLM_F32;
  throw Error("unsupported-dtype", "The tensor '" + printable(entry.name) + "' in " + file + " is stored as " +
                                       entry.dtype + ", which is not supported. Use a checkpoint in BF16, F16 or F32.");
}

}  // namespace

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

Checkpoint Checkpoint::open(const std::string& folder) {
  std::vector<MappedFile> files;
  Checkpoint checkpoint = open_from(
      [&](const std::string& name) -> std::optional<std::span<const std::byte>> {
        auto file = MappedFile::open(folder + "/" + name);
        if (!file) return std::nullopt;
        const std::span<const std::byte> bytes(file->data(), static_cast<std::size_t>(file->size()));
        files.push_back(std::move(*file));
        return bytes;
      },
      folder);
  checkpoint.files_ = std::move(files);
  return checkpoint;
}

Checkpoint Checkpoint::open_from(const FileReader& reader, const std::string& folder) {
  Checkpoint checkpoint;
  checkpoint.folder_ = folder;

  const auto add_file = [&](const std::string& file, std::span<const std::byte> bytes) {
    for (SafetensorsEntry& entry : parse_safetensors(bytes.data(), bytes.size(), file)) {
      StoredTensor tensor;
      tensor.dtype = supported_dtype(entry, file);
      tensor.data = bytes.data() + entry.begin;
      tensor.bytes = entry.end - entry.begin;
      tensor.shape = std::move(entry.shape);
      tensor.name = entry.name;
      tensor.file = file;
      const auto [place, fresh] = checkpoint.tensors_.emplace(entry.name, std::move(tensor));
      if (!fresh) {
        corrupt("The tensor '" + printable(entry.name) + "' is in both " + place->second.file + " and " + file +
                ". Download or copy the checkpoint again.");
      }
    }
  };

  // ---- One file, else the shards of the index ----
  if (const auto single = reader(kSingle)) {
    add_file(kSingle, *single);
  } else if (const auto index = reader(kIndex)) {
    const auto files = parse_index(*index);
    std::set<std::string> shards;
    for (const auto& [tensor, file] : files) shards.insert(file);
    if (shards.size() > kMaxShards)
      corrupt(std::string("The file ") + kIndex + " names " + std::to_string(shards.size()) +
              " shards. Download it again.");
    for (const std::string& shard : shards) {
      const auto bytes = reader(shard);
      if (!bytes)
        throw Error("file-not-found", "The shard " + shard + " named by " + kIndex + " is missing from " + folder +
                                          ". Download it into that folder.");
      add_file(shard, *bytes);
    }
    // Index and shards must agree. A tensor in a shard that the index leaves out is caught by expect_all_used.
    for (const auto& [tensor, file] : files) {
      const StoredTensor* found = checkpoint.find(tensor);
      if (found == nullptr || found->file != file) {
        corrupt(std::string("The file ") + kIndex + " says that the tensor '" + printable(tensor) + "' is in " + file +
                ", but " + (found == nullptr ? "no shard holds it" : "it is in " + found->file) +
                ". Download the checkpoint again.");
      }
    }
  } else {
    throw Error("not-a-checkpoint",
                "The folder " + folder + " holds neither " + kSingle + " nor " + kIndex +
                    ". Give the folder of a checkpoint in Hugging Face layout with safetensors weights.");
  }
  return checkpoint;
}

bool Checkpoint::has(const std::string& name) const { return tensors_.contains(name); }

const StoredTensor* Checkpoint::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

const StoredTensor& Checkpoint::get(const std::string& name, const std::vector<std::int64_t>& expected_shape) {
  const StoredTensor* tensor = find(name);
  if (tensor == nullptr) {
    corrupt("The checkpoint " + folder_ + " lacks the tensor " + name + " of shape " + shape_text(expected_shape) +
            ". Check that config.json belongs to these weights, and that all files are there.");
  }
  if (tensor->shape != expected_shape) {
    corrupt("The tensor " + name + " in " + tensor->file + " has the shape " + shape_text(tensor->shape) +
            ", but config.json asks for " + shape_text(expected_shape) +
            ". Check that config.json belongs to these weights.");
  }
  used_.insert(name);
  return *tensor;
}

void Checkpoint::ignore(const std::string& prefix) {
  for (auto it = tensors_.lower_bound(prefix); it != tensors_.end() && it->first.starts_with(prefix); ++it)
    used_.insert(it->first);
}

void Checkpoint::expect_all_used() const {
  std::size_t count = 0;
  std::string names;
  for (const auto& [name, tensor] : tensors_) {
    if (used_.contains(name)) continue;
    if (++count <= 5) names += (count > 1 ? ", " : "") + printable(name) + " (" + tensor.file + ")";
  }
  if (count == 0) return;
  corrupt("The checkpoint " + folder_ + " has " + std::to_string(count) + (count == 1 ? " tensor" : " tensors") +
          " that its config.json has no place for: " + names + (count > 5 ? ", …" : "") +
          ". Check that config.json belongs to these weights.");
}

}  // namespace nvlm
