// Whether this process has a library open.
#pragma once

#include <dlfcn.h>

#include <string>

namespace nvlm::test {

inline bool is_open(const std::string& library) {
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_NOLOAD);
  if (handle) dlclose(handle);
  return handle != nullptr;
}

}  // namespace nvlm::test
