// Files that are read by position.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace mora {

/// A regular file that is open to read; others may replace or remove it meanwhile.
class OpenFile {
 public:
  /// The path is in UTF-8. Throws Error("missing-file" or "unreadable-file") with the system's reason.
  explicit OpenFile(const std::string& path);
  ~OpenFile();
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  /// Size in bytes when it was opened.
  uint64_t size() const { return size_; }
  /// Reads up to `length` bytes, on any thread. Returns their number, 0 at the end of the file. Throws
  /// Error("unreadable-file") with the system's reason.
  uint64_t read(uint64_t offset, std::byte* to, uint64_t length) const;

 private:
  std::string path_;
  intptr_t handle_;
  uint64_t size_ = 0;
};

}  // namespace mora
