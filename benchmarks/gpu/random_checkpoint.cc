// Which tensor of a file of random_model.py an address belongs to. The backend's table hands over addresses alone, so
// that the file is found by its mapping, and what is random about the tensor in its header: "__metadata__" has "mean
// size" for each.
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <string>

#include "random_weights.h"

namespace nvlm::random {
namespace {

// First byte of the file that is mapped at `address`.
const char* mapped_file(const void* address) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    unsigned long long from = 0, to = 0, offset = 0;
    if (std::sscanf(line.c_str(), "%llx-%llx %*s %llx", &from, &to, &offset) != 3) continue;
    const auto at = reinterpret_cast<uintptr_t>(address);
    if (at >= from && at < to) return reinterpret_cast<const char*>(static_cast<uintptr_t>(from - offset));
  }
  throw std::runtime_error("a weight that is not in a mapped file");
}

struct Tensor {
  uint64_t end;
  float mean, size;
};

struct Header {
  std::string words;                   // as read: another file may come to lie at the same address
  std::map<uint64_t, Tensor> tensors;  // by begin, bytes from the start of the data section
};

const Header& header_at(const char* file, uint64_t length) {
  static Header header;
  if (header.words.size() == length && std::memcmp(header.words.data(), file + 8, length) == 0) return header;
  header = {std::string(file + 8, length), {}};
  const nlohmann::json json = nlohmann::json::parse(header.words);
  for (const auto& [name, words] : json.at("__metadata__").items()) {
    const auto& offsets = json.at(name).at("data_offsets");
    Tensor tensor{offsets.at(1), 0, 0};
    std::istringstream(words.get<std::string>()) >> tensor.mean >> tensor.size;
    header.tensors[offsets.at(0)] = tensor;
  }
  return header;
}

}  // namespace

Values values_of(const void* part, int64_t row_stride) {
  const char* file = mapped_file(part);
  uint64_t length = 0;
  std::memcpy(&length, file, sizeof length);
  const Header& header = header_at(file, length);
  const auto at = static_cast<uint64_t>(static_cast<const char*>(part) - file) - 8 - length;
  auto tensor = header.tensors.upper_bound(at);
  if (tensor == header.tensors.begin() || at >= (--tensor)->second.end)
    throw std::runtime_error("a weight that random_model.py did not describe");
  return {at / sizeof(gpu::bf16), row_stride, tensor->second.mean, tensor->second.size};
}

}  // namespace nvlm::random
