// One golden case of test/golden: what the reference computed, to be held against. See test/golden/README.md.
#pragma once

#include <cstdint>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
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

struct GoldenCase {
  std::string name, folder;
  nlohmann::json json;                          // case.json
  std::map<std::string, GoldenTensor> tensors;  // expected.safetensors
  std::vector<int32_t> ids() const { return json["input_ids"].get<std::vector<int32_t>>(); }
  std::vector<int32_t> greedy_ids() const { return json["greedy_ids"].get<std::vector<int32_t>>(); }
  int images() const { return static_cast<int>(json["images"].size()); }
  const GoldenTensor& operator[](const std::string& tensor) const { return tensors.at(tensor); }
};

inline const std::vector<std::string>& golden_names() {
  static const std::vector<std::string> names = {
      "d-one-tile", "d-six-tiles",   "d-dummy-heads", "d-internvit300m-style", "d-llama-default-system", "x-six-tiles",  "x-text-only",
      "x-two-images", "x-forged-text", "h-one-tile",    "h-six-tiles",           "h-head128-sharded",      "h-vocab-merges"};
  return names;
}

inline GoldenCase load_golden(const std::string& name) {
  const auto read = [](const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) throw std::runtime_error("cannot open " + path);
    return std::vector<char>(std::istreambuf_iterator<char>(in), {});
  };
  GoldenCase c;
  c.name = name;
  c.folder = std::string(NVLM_SOURCE_DIR) + "/test/golden/" + name;
  const std::vector<char> text = read(c.folder + "/case.json");
  c.json = nlohmann::json::parse(text.begin(), text.end());
  const std::vector<char> file = read(c.folder + "/expected.safetensors");
  uint64_t header_bytes = 0;
  std::copy_n(file.data(), 8, reinterpret_cast<char*>(&header_bytes));
  const auto data = file.begin() + 8 + static_cast<int64_t>(header_bytes);
  const nlohmann::json header = nlohmann::json::parse(file.begin() + 8, data);
  for (const auto& [key, value] : header.items()) {
    if (key == "__metadata__") continue;
    const auto range = value["data_offsets"].get<std::vector<int64_t>>();
    c.tensors[key] = {value["dtype"], value["shape"].get<std::vector<int64_t>>(), std::vector<char>(data + range[0], data + range[1])};
  }
  return c;
}

}  // namespace nvlm::test
