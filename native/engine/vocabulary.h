// The bytes of each token id, given once by TypeScript. Special tokens and ids beyond the table have none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nvlm {

class Vocabulary {
 public:
  Vocabulary() = default;
  // Token i is bytes[offsets[i], offsets[i + 1]). The caller has checked that offsets ascend and stay inside.
  Vocabulary(std::string bytes, std::vector<int32_t> offsets)
      : bytes_(std::move(bytes)), offsets_(std::move(offsets)) {}

  std::string_view operator[](int32_t id) const {
    if (id < 0 || static_cast<size_t>(id) + 1 >= offsets_.size()) return {};
    const auto begin = static_cast<size_t>(offsets_[static_cast<size_t>(id)]);
    return std::string_view(bytes_).substr(begin, static_cast<size_t>(offsets_[static_cast<size_t>(id) + 1]) - begin);
  }

 private:
  std::string bytes_;
  std::vector<int32_t> offsets_;
};

}  // namespace nvlm
