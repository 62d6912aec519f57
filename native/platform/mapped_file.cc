#include "platform/mapped_file.h"

#include <limits>
#include <utility>

#include "platform/error.h"

#ifdef _WIN32
#include <windows.h>

#include <filesystem>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#endif

namespace nvlm {
namespace {

[[noreturn]] void fail(const std::string& path, const std::string& reason) {
  throw Error("file-not-found",
              "The file " + path + " can't be read: " + reason + ". Check the path and its permissions.");
}

#ifdef _WIN32

void unmap_view(const std::byte* data, std::uint64_t) {
  if (data != nullptr) UnmapViewOfFile(data);
}

#else

void unmap_view(const std::byte* data, std::uint64_t size) {
  if (data != nullptr) munmap(const_cast<std::byte*>(data), static_cast<std::size_t>(size));
}

// Closes the descriptor on every way out; a mapping outlives it.
struct Descriptor {
  int fd;
  ~Descriptor() { close(fd); }
};

#endif

}  // namespace

#ifdef _WIN32

std::optional<MappedFile> MappedFile::open(const std::string& path) {
  const std::wstring wide = std::filesystem::u8path(path).wstring();
  const HANDLE file =
      CreateFileW(wide.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
  if (file == INVALID_HANDLE_VALUE) {
    const DWORD error = GetLastError();
    if (error == ERROR_FILE_NOT_FOUND || error == ERROR_PATH_NOT_FOUND) return std::nullopt;
    fail(path, "system error " + std::to_string(error));
  }
  LARGE_INTEGER size;
  if (!GetFileSizeEx(file, &size)) {
    CloseHandle(file);
    fail(path, "its size is not known");
  }
  if (size.QuadPart == 0) {
    CloseHandle(file);
    return MappedFile(nullptr, 0);
  }
  const HANDLE mapping = CreateFileMappingW(file, nullptr, PAGE_READONLY, 0, 0, nullptr);
  CloseHandle(file);
  if (mapping == nullptr) fail(path, "system error " + std::to_string(GetLastError()));
  const void* view = MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
  CloseHandle(mapping);
  if (view == nullptr) fail(path, "system error " + std::to_string(GetLastError()));
  return MappedFile(static_cast<const std::byte*>(view), static_cast<std::uint64_t>(size.QuadPart));
}

#else

std::optional<MappedFile> MappedFile::open(const std::string& path) {
  // A path with a zero byte would name another file than the caller meant.
  if (path.find('\0') != std::string::npos) fail(path.substr(0, path.find('\0')), "the name holds a zero byte");
  // O_NONBLOCK: opening a FIFO must not hang; it means nothing for regular files.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    fail(path, std::strerror(errno));
  }
  const Descriptor descriptor{fd};
  struct stat facts;
  if (fstat(fd, &facts) != 0) fail(path, std::strerror(errno));
  if (!S_ISREG(facts.st_mode)) fail(path, "it is not a regular file");
  const auto size = static_cast<std::uint64_t>(facts.st_size);
  if (size == 0) return MappedFile(nullptr, 0);
  if (size > std::numeric_limits<std::size_t>::max()) fail(path, "it is larger than the address space");
  void* const view = mmap(nullptr, static_cast<std::size_t>(size), PROT_READ, MAP_PRIVATE, fd, 0);
  if (view == MAP_FAILED) fail(path, std::strerror(errno));
  return MappedFile(static_cast<const std::byte*>(view), size);
}

#endif

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this != &other) {
    unmap_view(data_, size_);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

MappedFile::~MappedFile() { unmap_view(data_, size_); }

}  // namespace nvlm
