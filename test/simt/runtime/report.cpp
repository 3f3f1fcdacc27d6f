#include "simt/runtime/report.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>

namespace simt {

namespace {

/// The functions of one ELF file by their address in it, local ones included: kernels lie in anonymous namespaces.
std::map<uint64_t, std::string> functionsOf(const char* path) {
  std::map<uint64_t, std::string> functions;
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  struct stat status {};
  if (file < 0 || fstat(file, &status) != 0) return functions;
  const auto bytes = static_cast<size_t>(status.st_size);
  void* mapped = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, file, 0);
  close(file);
  if (mapped == MAP_FAILED) return functions;
  const char* image = static_cast<const char*>(mapped);
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(image);
  const auto* sections = reinterpret_cast<const Elf64_Shdr*>(image + header->e_shoff);
  for (unsigned s = 0; header->e_shoff && s < header->e_shnum; ++s) {
    if (sections[s].sh_type != SHT_SYMTAB) continue;
    const auto* symbols = reinterpret_cast<const Elf64_Sym*>(image + sections[s].sh_offset);
    const char* names = image + sections[sections[s].sh_link].sh_offset;
    for (size_t i = 0; i < sections[s].sh_size / sizeof(Elf64_Sym); ++i)
      if (ELF64_ST_TYPE(symbols[i].st_info) == STT_FUNC && symbols[i].st_value)
        functions.emplace(symbols[i].st_value, names + symbols[i].st_name);
  }
  munmap(mapped, bytes);
  return functions;
}

std::string demangled(const char* symbol) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(abi::__cxa_demangle(symbol, nullptr, nullptr, &status),
                                                         &std::free);
  if (status != 0) return symbol;
  // Reduces "void space::name<arguments>(parameters)" to name<arguments>.
  std::string name = text.get();
  for (const std::string scope = "(anonymous namespace)::"; name.find(scope) != std::string::npos;)
    name.erase(name.find(scope), scope.size());
  if (name.rfind("void ", 0) == 0) name.erase(0, 5);
  int depth = 0;
  for (size_t i = name.size(); i-- > 0;) {
    depth += (name[i] == ')') - (name[i] == '(');
    if (depth == 0 && name[i] == '(') return name.substr(0, i);
  }
  return name;
}

}  // namespace

std::string nameOf(const void* function) {
  static std::mutex mutex;
  static std::map<const void*, std::string> names;
  static std::map<std::string, std::map<uint64_t, std::string>> files;
  const std::lock_guard lock(mutex);
  if (const auto known = names.find(function); known != names.end()) return known->second;
  Dl_info info{};
  if (!dladdr(function, &info) || !info.dli_fname) return names[function] = "a kernel without a name";
  const char* path = info.dli_fname;
  if (access(path, R_OK) != 0) path = "/proc/self/exe";
  auto [file, added] = files.try_emplace(path);
  if (added) file->second = functionsOf(path);
  // Position-independent code: addresses in the file are relative to where it was loaded.
  const auto offset = static_cast<uint64_t>(static_cast<const char*>(function) - static_cast<char*>(info.dli_fbase));
  auto symbol = file->second.find(offset);
  if (symbol == file->second.end()) symbol = file->second.find(reinterpret_cast<uint64_t>(function));
  const bool found = symbol != file->second.end();
  return names[function] = found ? demangled(symbol->second.c_str()) : "a kernel without a name";
}

}  // namespace simt
