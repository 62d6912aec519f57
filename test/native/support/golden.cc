#include "support/golden.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>

using nlohmann::json;

namespace nvlm::test {
namespace {

json parsed(const std::string& file) {
  const std::vector<char> text = read_file(file);
  return json::parse(text.begin(), text.end());
}

struct Safetensors {
  explicit Safetensors(const std::string& path) : file(read_file(path)) {
    uint64_t header_bytes = 0;
    std::copy_n(file.data(), 8, reinterpret_cast<char*>(&header_bytes));
    data = file.begin() + 8 + static_cast<int64_t>(header_bytes);
    header = json::parse(file.begin() + 8, data);
    header.erase("__metadata__");
  }
  std::vector<char> file;
  std::vector<char>::iterator data;
  json header;
};

}  // namespace

GoldenCase load_golden(const std::string& name) {
  GoldenCase c;
  c.name = name;
  c.folder = std::string(NVLM_SOURCE_DIR) + "/test/golden/" + name;
  const json said = parsed(c.folder + "/case.json");
  said.at("input_ids").get_to(c.ids);
  said.at("greedy_ids").get_to(c.greedy_ids);
  said.at("images").get_to(c.image_files);
  said.at("grids").get_to(c.grids);
  const Safetensors expected(c.folder + "/expected.safetensors");
  for (const auto& [key, value] : expected.header.items()) {
    const auto range = value["data_offsets"].get<std::vector<int64_t>>();
    c.tensors[key] = {value["dtype"], value["shape"].get<std::vector<int64_t>>(),
                      std::vector<char>(expected.data + range[0], expected.data + range[1])};
  }
  return c;
}

RgbImage GoldenCase::image(int k) const {
  std::string file = image_files.at(static_cast<size_t>(k));
  file.replace(file.rfind('.'), std::string::npos, ".rgb");
  const std::vector<char> bytes = read_file(folder + "/" + file);
  const json size = parsed(folder + "/images.json").at(file);
  RgbImage image{size.at("width").get<int>(), size.at("height").get<int>(),
                 std::vector<uint8_t>(bytes.begin(), bytes.end())};
  if (image.pixels.size() != size_t{3} * image.width * image.height)
    throw std::runtime_error(folder + "/" + file + " has a wrong size");
  return image;
}

const std::vector<std::string>& golden_names() {
  static const std::vector<std::string> names = {
      "d-one-tile",  "d-six-tiles",       "d-dummy-heads", "d-internvit300m-style", "d-llama-default-system",
      "x-six-tiles", "x-text-only",       "x-two-images",  "x-forged-text",         "h-one-tile",
      "h-six-tiles", "h-head128-sharded", "h-vocab-merges"};
  return names;
}

std::vector<char> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot open " + path);
  return std::vector<char>(std::istreambuf_iterator<char>(in), {});
}

uint64_t stored_elements(const std::string& file) {
  uint64_t elements = 0;
  const Safetensors stored(file);
  for (const auto& [name, tensor] : stored.header.items()) {
    uint64_t count = 1;
    for (const uint64_t n : tensor["shape"].get<std::vector<uint64_t>>()) count *= n;
    elements += count;
  }
  return elements;
}

}  // namespace nvlm::test
