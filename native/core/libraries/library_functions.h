// Functions of a library that is opened at run time.
#pragma once
#include <dlfcn.h>

#include <string>

namespace mora {

/// Stores a function's address, or adds its name to `absent` if the library lacks it.
template <typename Function>
void resolveFunction(void* library, const char* name, Function& function, std::string& absent) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (!function) absent += std::string(absent.empty() ? "" : ", ") + name;
}

/// The file that contains a function, according to the loader; `otherwise` if unknown.
inline std::string fileOfFunction(void* function, const char* otherwise) {
  Dl_info info;
  return dladdr(function, &info) != 0 && info.dli_fname ? info.dli_fname : otherwise;
}

}  // namespace mora
