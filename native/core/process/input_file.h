// A file to read weights from. Held by shared pointers: reads that are still enqueued keep it open. It is read, not
// mapped: a mapped file that somebody shortens ends the process (SIGBUS).
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace mora {

class InputFile {
 public:
  /// Throws Error("missing-file" or "unreadable-file") with the system's reason.
  static std::shared_ptr<InputFile> open(const std::string& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  /// Bytes that it had when it was opened.
  uint64_t size() const { return size_; }
  /// Throws Error("malformed-file") where bytes [offset, offset + length) reach past that.
  void require(uint64_t offset, uint64_t length) const;
  /// Reads these bytes; from any thread. Throws Error where they cannot be read, or are not there any more.
  void read(uint64_t offset, std::byte* to, uint64_t length) const;

 private:
  InputFile(std::string path, int descriptor, uint64_t size)
      : path_(std::move(path)), descriptor_(descriptor), size_(size) {}

  [[noreturn]] void failAtEnd(uint64_t end, uint64_t offset, uint64_t length) const;

  std::string path_;
  int descriptor_;
  uint64_t size_;
};

}  // namespace mora
