// What a kernel is called. Kernels are local to their file, so that the table of the dynamic linker, which dladdr asks,
// does not have them: the program's file does.
#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>

#include "emulator/machine.h"

namespace nvlm::emulator {
namespace {

template <typename T>
bool read(std::ifstream& file, uint64_t at, T* to, uint64_t count) {
  file.seekg(static_cast<std::streamoff>(at));
  return static_cast<bool>(file.read(reinterpret_cast<char*>(to), static_cast<std::streamsize>(count * sizeof(T))));
}

// The function at `offset` of a program or library; empty where the file was stripped.
std::string symbol(const char* path, uint64_t offset) {
  std::ifstream file(path, std::ios::binary);
  Elf64_Ehdr header{};
  if (!read(file, 0, &header, 1) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_ident[EI_CLASS] != ELFCLASS64)
    return {};
  std::vector<Elf64_Shdr> sections(header.e_shnum);
  if (!read(file, header.e_shoff, sections.data(), sections.size())) return {};
  for (const Elf64_Shdr& section : sections) {
    if (section.sh_type != SHT_SYMTAB || section.sh_link >= sections.size()) continue;
    std::vector<Elf64_Sym> symbols(section.sh_size / sizeof(Elf64_Sym));
    if (!read(file, section.sh_offset, symbols.data(), symbols.size())) return {};
    for (const Elf64_Sym& s : symbols) {
      if (ELF64_ST_TYPE(s.st_info) != STT_FUNC || offset < s.st_value || offset >= s.st_value + s.st_size) continue;
      file.seekg(static_cast<std::streamoff>(sections[section.sh_link].sh_offset + s.st_name));
      std::string name;
      std::getline(file, name, '\0');
      return name;
    }
  }
  return {};
}

// Without namespaces and parameters: "gemm_sm80<...>".
std::string short_name(const std::string& mangled) {
  int status = 0;
  char* demangled = abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status);
  std::string name = demangled ? demangled : mangled;
  std::free(demangled);
  if (name.rfind("void ", 0) == 0) name.erase(0, 5);  // a template's result is told too
  for (const char* space : {"nvlm::", "gpu::", "emulator::", "(anonymous namespace)::"}) {
    for (size_t at = name.find(space); at != std::string::npos; at = name.find(space))
      name.erase(at, std::strlen(space));
  }
  int nested = 0;
  for (size_t i = 0; i < name.size(); ++i) {
    nested += name[i] == '<' ? 1 : name[i] == '>' ? -1 : 0;
    if (nested == 0 && name[i] == '(') return name.substr(0, i);
  }
  return name;
}

}  // namespace

std::string kernel_name(const void* kernel) {
  static std::map<const void*, std::string> known;
  const auto found = known.find(kernel);
  if (found != known.end()) return found->second;
  Dl_info info;
  std::string name;
  if (dladdr(kernel, &info))
    name = symbol(info.dli_fname, reinterpret_cast<uintptr_t>(kernel) - reinterpret_cast<uintptr_t>(info.dli_fbase));
  return known[kernel] = name.empty() ? "a kernel" : short_name(name);
}

}  // namespace nvlm::emulator
