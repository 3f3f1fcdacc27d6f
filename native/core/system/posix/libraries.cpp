#include "core/system/libraries.h"

#include <dlfcn.h>

#include <cstdlib>

namespace mora {

#ifdef __APPLE__
const char* const kLibrarySuffix = ".dylib";
#else
const char* const kLibrarySuffix = ".so";
#endif

std::filesystem::path folderOfThisLibrary() {
  static char here = 0;
  const std::string file = fileOfFunction(&here, "");
  return file.empty() ? std::filesystem::path() : std::filesystem::absolute(file).parent_path();
}

void* openLibrary(const std::filesystem::path& path, std::string& why, Symbols symbols) {
  void* const library = dlopen(path.c_str(), RTLD_NOW | (symbols == Symbols::global ? RTLD_GLOBAL : RTLD_LOCAL));
  if (library) return library;
  const char* const reason = dlerror();
  why = reason ? reason : path.string();
  return nullptr;
}

void* addressIn(void* library, const char* name) { return dlsym(library, name); }

std::string fileOfFunction(void* function, const char* otherwise) {
  Dl_info info;
  return dladdr(function, &info) != 0 && info.dli_fname ? info.dli_fname : otherwise;
}

void suggestToLibraries(const char* variable, const char* value) {
  constexpr int kKeep = 0;
  setenv(variable, value, kKeep);
}

}  // namespace mora
