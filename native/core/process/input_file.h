// A file of weights. Held by shared pointers, so that enqueued reads keep it open. It is read, not mapped: a mapped
// file that is truncated ends the process (SIGBUS).
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "core/system/files.h"

namespace mora {

class InputFile {
 public:
  /// Throws Error("missing-file" or "unreadable-file") with the system's reason.
  static std::shared_ptr<InputFile> open(const std::string& path);

  /// Size in bytes when it was opened.
  uint64_t size() const { return file_.size(); }
  /// Throws Error("malformed-file") if bytes [offset, offset + length) reach past the end.
  void require(uint64_t offset, uint64_t length) const;
  /// Reads bytes, on any thread. Throws Error if they cannot be read or no longer exist.
  void read(uint64_t offset, std::byte* to, uint64_t length) const;

 private:
  explicit InputFile(const std::string& path) : path_(path), file_(path) {}

  [[noreturn]] void failAtEnd(uint64_t end, uint64_t offset, uint64_t length) const;

  std::string path_;
  OpenFile file_;
};

}  // namespace mora
