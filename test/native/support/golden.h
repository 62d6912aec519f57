// A golden case: a checkpoint folder with case.json, expected.safetensors and its images as raw RGB (scripts/make-image-fixtures.mjs).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "model/safetensors.h"
#include "platform/error.h"

namespace nvlm::test {

inline std::vector<std::byte> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error("file-not-found", "The test file " + path + " is missing.");
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::vector<std::byte> out(bytes.size());
  if (!bytes.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

inline nlohmann::json read_json(const std::string& path) {
  const auto bytes = read_file(path);
  const char* text = reinterpret_cast<const char*>(bytes.data());
  return nlohmann::json::parse(text, text + bytes.size());
}

inline std::string golden_root() { return std::string(NVLM_SOURCE_DIR) + "/test/golden"; }

// Names of all golden cases, sorted. Throws when there is none, so that no test passes by finding nothing.
inline std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(golden_root())) {
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  if (names.empty()) throw Error("file-not-found", "There are no golden cases in " + golden_root() + ".");
  return names;
}

struct RgbImage {
  int width = 0, height = 0;
  std::vector<std::uint8_t> pixels;  // [height, width, 3]
};

class Golden {
 public:
  explicit Golden(const std::string& name)
      : folder_(golden_root() + "/" + name), case_(read_json(folder_ + "/case.json")), bytes_(read_file(folder_ + "/expected.safetensors")) {
    for (auto& entry : parse_safetensors(bytes_.data(), bytes_.size(), folder_ + "/expected.safetensors")) entries_.emplace(entry.name, entry);
  }

  const std::string& folder() const { return folder_; }
  const nlohmann::json& json() const { return case_; }  // messages, images, grids, input_ids, greedy_ids, …
  std::vector<std::int32_t> input_ids() const { return case_.at("input_ids").get<std::vector<std::int32_t>>(); }
  std::vector<std::int32_t> greedy_ids() const { return case_.at("greedy_ids").get<std::vector<std::int32_t>>(); }
  int image_count() const { return static_cast<int>(case_.at("images").size()); }
  // (columns, rows) of image k, from 0.
  std::pair<int, int> grid(int k) const { return {case_.at("grids").at(k).at(0).get<int>(), case_.at("grids").at(k).at(1).get<int>()}; }

  bool has(const std::string& name) const { return entries_.contains(name); }
  const std::vector<std::int64_t>& shape(const std::string& name) const { return entries_.at(name).shape; }
  std::vector<float> floats(const std::string& name) const { return read<float>(name, "F32"); }                  // "vit1", "last_logits", …
  std::vector<std::uint8_t> bytes(const std::string& name) const { return read<std::uint8_t>(name, "U8"); }  // "tiles1", "cross_mask"

  // Source pixels of image k, from 0.
  RgbImage image(int k) const {
    std::string file = case_.at("images").at(k).get<std::string>();
    file.replace(file.rfind('.'), std::string::npos, ".rgb");
    const nlohmann::json size = read_json(folder_ + "/images.json").at(file);
    RgbImage image{size.at("width").get<int>(), size.at("height").get<int>(), {}};
    const auto bytes = read_file(folder_ + "/" + file);
    if (bytes.size() != std::size_t{3} * image.width * image.height) throw Error("corrupt-checkpoint", "The test file " + file + " has a wrong size.");
    image.pixels.resize(bytes.size());
    std::memcpy(image.pixels.data(), bytes.data(), bytes.size());
    return image;
  }

 private:
  template <typename T>
  std::vector<T> read(const std::string& name, const std::string& dtype) const {
    const auto found = entries_.find(name);
    if (found == entries_.end() || found->second.dtype != dtype) throw Error("corrupt-checkpoint", folder_ + " has no expected tensor " + name + " of " + dtype + ".");
    std::vector<T> values((found->second.end - found->second.begin) / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), bytes_.data() + found->second.begin, values.size() * sizeof(T));
    return values;
  }

  std::string folder_;
  nlohmann::json case_;
  std::vector<std::byte> bytes_;
  std::map<std::string, SafetensorsEntry> entries_;
};

}  // namespace nvlm::test
