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

void DynamicLibrary::keep(const void* address) {
#ifdef _WIN32
  HMODULE module;
  GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
                     static_cast<LPCWSTR>(address), &module);
#else
  Dl_info info;
  if (dladdr(address, &info) == 0 || !info.dli_fname) return;
  if (void* handle = dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE)) dlclose(handle);
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
