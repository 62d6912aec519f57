#include "platform/dynamic_library.h"

#ifdef _WIN32
#include <windows.h>

#include <filesystem>
#else
#include <dlfcn.h>
#endif

namespace nvlm {

std::shared_ptr<DynamicLibrary> DynamicLibrary::open(const std::string& file, std::string* reason) {
#ifdef _WIN32
  void* handle = LoadLibraryW(std::filesystem::u8path(file).wstring().c_str());
  if (!handle) *reason = "error " + std::to_string(GetLastError());
#else
  // Bound at once, so that a missing symbol shows here; local, so that nothing of it is seen by other libraries.
  void* handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char* words = dlerror();
    *reason = words ? words : "no reason given";
  }
#endif
  return handle ? std::shared_ptr<DynamicLibrary>(new DynamicLibrary(handle)) : nullptr;
}

DynamicLibrary::~DynamicLibrary() {
#ifdef _WIN32
  FreeLibrary(static_cast<HMODULE>(handle_));
#else
  dlclose(handle_);
#endif
}

void* DynamicLibrary::symbol(const char* name) const {
#ifdef _WIN32
  return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(handle_), name));
#else
  return dlsym(handle_, name);
#endif
}

}  // namespace nvlm
