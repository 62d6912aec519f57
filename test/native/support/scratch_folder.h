// A folder of its own for a test, removed at the end.
#pragma once

#include <filesystem>
#include <fstream>
#include <random>
#include <stdexcept>
#include <string>

namespace nvlm::test {

class ScratchFolder {
 public:
  explicit ScratchFolder(const std::string& name) {
    std::random_device random;  // names only: two runs at once must not meet
    for (int attempt = 0; attempt < 100; ++attempt) {
      const auto path = std::filesystem::temp_directory_path() / ("nvlm-" + name + "-" + std::to_string(random()));
      if (std::filesystem::create_directory(path)) {
        path_ = path.string();
        return;
      }
    }
    throw std::runtime_error("no scratch folder could be made");
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }

  // Writes a file, with the folders above it.
  void write(const std::string& file, const std::string& bytes) const {
    const std::filesystem::path path = std::filesystem::path(path_) / file;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out << bytes;
    if (!out.flush()) throw std::runtime_error("cannot write " + path.string());
  }

 private:
  std::string path_;
};

}  // namespace nvlm::test
