// A file mapped read-only. Held by shared pointers: reads that are still enqueued keep the mapping alive.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace mora {

class MappedFile {
 public:
  /// Throws Error("missing-file" or "unreadable-file") with the system's reason.
  static std::shared_ptr<MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  uint64_t size() const { return size_; }
  /// Start of bytes [offset, offset + length). Throws Error when they reach past the end of the file.
  const std::byte* range(uint64_t offset, uint64_t length) const;

 private:
  MappedFile(std::string path, const std::byte* data, uint64_t size)
      : path_(std::move(path)), data_(data), size_(size) {}

  std::string path_;
  const std::byte* data_;
  uint64_t size_;
};

}  // namespace mora
