#include "core/system/libraries.h"

#include <windows.h>

#include "core/system/windows/text.h"

namespace mora {
namespace {

/// The file of the library that contains an address; empty if there is none.
std::wstring fileAt(const void* address) {
  constexpr DWORD kFlags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
  HMODULE library = nullptr;
  if (!GetModuleHandleExW(kFlags, static_cast<const wchar_t*>(address), &library)) return L"";
  std::wstring file(1 << 15, L'\0');  // the longest path
  file.resize(GetModuleFileNameW(library, file.data(), static_cast<DWORD>(file.size())));
  return file;
}

}  // namespace

const char* const kLibrarySuffix = ".dll";

std::filesystem::path folderOfThisLibrary() {
  static const char here = 0;
  return std::filesystem::path(fileAt(&here)).parent_path();
}

void* openLibrary(const std::filesystem::path& path, std::string& why, Symbols) {
  // A library by its path is opened with the libraries beside it.
  const DWORD flags = path.has_parent_path() ? LOAD_WITH_ALTERED_SEARCH_PATH : 0;
  void* const library = LoadLibraryExW(path.c_str(), nullptr, flags);
  if (!library) why = narrow(path.wstring()) + ": " + reasonOf(GetLastError());
  return library;
}

void* addressIn(void* library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(library), name));
}

std::string fileOfFunction(void* function, const char* otherwise) {
  const std::wstring file = fileAt(function);
  return file.empty() ? otherwise : narrow(file);
}

void suggestToLibraries(const char* variable, const char* value) {
  if (GetEnvironmentVariableA(variable, nullptr, 0) == 0) SetEnvironmentVariableA(variable, value);
}

}  // namespace mora
