// A file mapped for reading. The mapping lives as long as the object; moving keeps the address.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace nvlm {

class MappedFile {
 public:
  // Empty when there is no such file. Throws file-not-found when it is there but can't be opened or mapped (message:
  // path and reason), or is no regular file.
  static std::optional<MappedFile> open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  const std::byte* data() const { return data_; }  // nullptr for an empty file
  std::uint64_t size() const { return size_; }

 private:
  MappedFile(const std::byte* data, std::uint64_t size) : data_(data), size_(size) {}
  const std::byte* data_;
  std::uint64_t size_;
};

}  // namespace nvlm
