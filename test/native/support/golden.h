// One golden case of test/golden: what the reference computed, to be held against. See test/golden/README.md.
#pragma once

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace nvlm::test {

struct GoldenTensor {
  std::string dtype;  // "F32" or "U8"
  std::vector<int64_t> shape;
  std::vector<char> bytes;
  const float* floats() const { return reinterpret_cast<const float*>(bytes.data()); }
  const uint8_t* u8() const { return reinterpret_cast<const uint8_t*>(bytes.data()); }
  int64_t count() const { return static_cast<int64_t>(bytes.size() / (dtype == "F32" ? 4 : 1)); }
};

inline std::vector<char> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot open " + path);
  return std::vector<char>(std::istreambuf_iterator<char>(in), {});
}

struct RgbImage {
  int width = 0, height = 0;
  std::vector<uint8_t> pixels;  // [height, width, 3]
};

struct GoldenCase {
  std::string name, folder;
  nlohmann::json json;                          // case.json
  std::map<std::string, GoldenTensor> tensors;  // expected.safetensors
  std::vector<int32_t> ids() const { return json["input_ids"].get<std::vector<int32_t>>(); }
  std::vector<int32_t> greedy_ids() const { return json["greedy_ids"].get<std::vector<int32_t>>(); }
  int images() const { return static_cast<int>(json["images"].size()); }
  // (columns, rows) of image k, from 0.
  std::pair<int, int> grid(int k) const {
    return {json["grids"].at(k).at(0).get<int>(), json["grids"].at(k).at(1).get<int>()};
  }
  // Source pixels of image k, from 0: the raw twin of its PNG (scripts/make-image-fixtures.mjs).
  RgbImage image(int k) const {
    std::string file = json["images"].at(k).get<std::string>();
    file.replace(file.rfind('.'), std::string::npos, ".rgb");
    const std::vector<char> sizes = read_file(folder + "/images.json"), bytes = read_file(folder + "/" + file);
    const nlohmann::json size = nlohmann::json::parse(sizes.begin(), sizes.end()).at(file);
    RgbImage image{size.at("width").get<int>(), size.at("height").get<int>(),
                   std::vector<uint8_t>(bytes.begin(), bytes.end())};
    if (image.pixels.size() != size_t{3} * image.width * image.height)
      throw std::runtime_error(folder + "/" + file + " has a wrong size");
    return image;
  }
  const GoldenTensor& operator[](const std::string& tensor) const { return tensors.at(tensor); }
};

inline const std::vector<std::string>& golden_names() {
  static const std::vector<std::string> names = {
      "d-one-tile",  "d-six-tiles",       "d-dummy-heads", "d-internvit300m-style", "d-llama-default-system",
      "x-six-tiles", "x-text-only",       "x-two-images",  "x-forged-text",         "h-one-tile",
      "h-six-tiles", "h-head128-sharded", "h-vocab-merges"};
  return names;
}

inline GoldenCase load_golden(const std::string& name) {
  GoldenCase c;
  c.name = name;
  c.folder = std::string(NVLM_SOURCE_DIR) + "/test/golden/" + name;
  const std::vector<char> text = read_file(c.folder + "/case.json");
  c.json = nlohmann::json::parse(text.begin(), text.end());
  const std::vector<char> file = read_file(c.folder + "/expected.safetensors");
  uint64_t header_bytes = 0;
  std::copy_n(file.data(), 8, reinterpret_cast<char*>(&header_bytes));
  const auto data = file.begin() + 8 + static_cast<int64_t>(header_bytes);
  const nlohmann::json header = nlohmann::json::parse(file.begin() + 8, data);
  for (const auto& [key, value] : header.items()) {
    if (key == "__metadata__") continue;
    const auto range = value["data_offsets"].get<std::vector<int64_t>>();
    c.tensors[key] = {value["dtype"], value["shape"].get<std::vector<int64_t>>(),
                      std::vector<char>(data + range[0], data + range[1])};
  }
  return c;
}

}  // namespace nvlm::test
