// Libraries that are opened at run time.
#pragma once
#include <filesystem>
#include <string>

namespace mora {

/// The folder of the addon, or of the library that this code is part of; empty if the system does not know it.
std::filesystem::path folderOfThisLibrary();

/// How the names of libraries end, with the dot.
extern const char* const kLibrarySuffix;

enum class Symbols { own, global };

/// Opens a library, whose symbols libraries that are opened later find too if they are `global`. Returns null if it
/// cannot be opened, with the loader's reason in `why`.
void* openLibrary(const std::filesystem::path& path, std::string& why, Symbols symbols = Symbols::own);

/// The address of a function or object of a library; null if the library lacks it.
void* addressIn(void* library, const char* name);

/// The file that contains a function, according to the loader; `otherwise` if unknown.
std::string fileOfFunction(void* function, const char* otherwise);

/// Stores a function's address, or adds its name to `absent` if the library lacks it.
template <typename Function>
void resolveFunction(void* library, const char* name, Function& function, std::string& absent) {
  function = reinterpret_cast<Function>(addressIn(library, name));
  if (!function) absent += std::string(absent.empty() ? "" : ", ") + name;
}

/// Sets a variable of the environment for libraries that this process opens, unless it is set.
void suggestToLibraries(const char* variable, const char* value);

}  // namespace mora
