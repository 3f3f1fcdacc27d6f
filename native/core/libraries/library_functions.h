// Functions of a library that is opened while the program runs.
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

/// The file that holds a function, as the loader found it; `otherwise` where that cannot be told.
inline std::string fileOfFunction(void* function, const char* otherwise) {
  Dl_info info;
  return dladdr(function, &info) != 0 && info.dli_fname ? info.dli_fname : otherwise;
}

}  // namespace mora
