// One golden case of test/golden: what the reference computed, to be held against. See test/golden/README.md.
#pragma once

#include <cstdint>
#include <map>
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

struct RgbImage {
  int width = 0, height = 0;
  std::vector<uint8_t> pixels;  // [height, width, 3]
};

struct GoldenCase {
  std::string name, folder;
  std::map<std::string, GoldenTensor> tensors;  // expected.safetensors
  const GoldenTensor& operator[](const std::string& tensor) const { return tensors.at(tensor); }

  // Of case.json.
  std::vector<int32_t> ids, greedy_ids;
  std::vector<std::string> image_files;
  std::vector<std::pair<int, int>> grids;  // columns, rows

  int images() const { return static_cast<int>(image_files.size()); }
  std::pair<int, int> grid(int k) const { return grids.at(static_cast<size_t>(k)); }
  // Source pixels of image k, from 0: the raw twin of its PNG (scripts/make-image-fixtures.mjs).
  RgbImage image(int k) const;
};

GoldenCase load_golden(const std::string& name);
const std::vector<std::string>& golden_names();

std::vector<char> read_file(const std::string& path);
// Of all tensors of a safetensors file.
uint64_t stored_elements(const std::string& file);

}  // namespace nvlm::test
