// A shared library opened at run time.
#pragma once

#include <memory>
#include <string>

namespace nvlm {

class DynamicLibrary {
 public:
  // Null, and why in `reason`. The library is closed when the last owner lets go.
  static std::shared_ptr<DynamicLibrary> open(const std::string& file, std::string* reason);
  ~DynamicLibrary();
  DynamicLibrary(const DynamicLibrary&) = delete;
  DynamicLibrary& operator=(const DynamicLibrary&) = delete;

  void* symbol(const char* name) const;  // null: not there

  // The library that `address` lies in stays open until the process ends, whoever lets go of it.
  static void keep(const void* address);

 private:
  explicit DynamicLibrary(void* handle) : handle_(handle) {}
  void* handle_;
};

}  // namespace nvlm
