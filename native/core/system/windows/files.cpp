#include "core/system/files.h"

#include <windows.h>

#include <algorithm>

#include "core/error.h"
#include "core/system/windows/text.h"

namespace mora {
namespace {

/// The path as the system takes it at any length: whole, after a mark (in place of the two backslashes of a share).
std::wstring wholePath(const std::string& path) {
  const std::wstring given = wide(path);
  if (given.starts_with(L"\\\\?\\") || given.starts_with(L"\\\\.\\")) return given;
  std::wstring whole(GetFullPathNameW(given.c_str(), 0, nullptr, nullptr), L'\0');
  whole.resize(GetFullPathNameW(given.c_str(), static_cast<DWORD>(whole.size()), whole.data(), nullptr));
  if (whole.empty()) return given;
  return whole.starts_with(L"\\\\") ? L"\\\\?\\UNC\\" + whole.substr(2) : L"\\\\?\\" + whole;
}

HANDLE handleOf(intptr_t number) { return reinterpret_cast<HANDLE>(number); }

}  // namespace

OpenFile::OpenFile(const std::string& path) : path_(path) {
  // Others may rename and remove it meanwhile, as Node.js allows for files that it opens.
  const HANDLE handle =
      CreateFileW(wholePath(path).c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                  nullptr, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, nullptr);
  if (handle == INVALID_HANDLE_VALUE) {
    const DWORD error = GetLastError();
    const bool isMissing = error == ERROR_FILE_NOT_FOUND || error == ERROR_PATH_NOT_FOUND;
    throw Error(isMissing ? "missing-file" : "unreadable-file", "Cannot open " + path + ": " + reasonOf(error) + ".");
  }
  BY_HANDLE_FILE_INFORMATION facts{};
  if (GetFileType(handle) != FILE_TYPE_DISK || !GetFileInformationByHandle(handle, &facts) ||
      (facts.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0) {
    CloseHandle(handle);
    throw Error("unreadable-file", "Cannot read " + path + ": it is not a regular file.");
  }
  handle_ = reinterpret_cast<intptr_t>(handle);
  size_ = uint64_t{facts.nFileSizeHigh} << 32 | facts.nFileSizeLow;
}

OpenFile::~OpenFile() { CloseHandle(handleOf(handle_)); }

uint64_t OpenFile::read(uint64_t offset, std::byte* to, uint64_t length) const {
  constexpr uint64_t kMost = 1 << 30;
  OVERLAPPED place{};
  place.Offset = static_cast<DWORD>(offset);
  place.OffsetHigh = static_cast<DWORD>(offset >> 32);
  DWORD count = 0;
  if (ReadFile(handleOf(handle_), to, static_cast<DWORD>(std::min(kMost, length)), &count, &place)) return count;
  const DWORD error = GetLastError();
  if (error == ERROR_HANDLE_EOF) return 0;
  throw Error("unreadable-file", "Cannot read " + path_ + ": " + reasonOf(error) + ".");
}

}  // namespace mora
