#include "core/process/input_file.h"

#include "core/error.h"

namespace mora {

std::shared_ptr<InputFile> InputFile::open(const std::string& path) {
  return std::shared_ptr<InputFile>(new InputFile(path));
}

void InputFile::require(uint64_t offset, uint64_t length) const {
  if (offset > size() || length > size() - offset) failAtEnd(size(), offset, length);
}

void InputFile::read(uint64_t offset, std::byte* to, uint64_t length) const {
  for (uint64_t at = 0; at < length;) {
    const uint64_t count = file_.read(offset + at, to + at, length - at);
    if (count == 0) failAtEnd(offset + at, offset, length);
    at += count;
  }
}

void InputFile::failAtEnd(uint64_t end, uint64_t offset, uint64_t length) const {
  throw Error("malformed-file", path_ + " ends at byte " + std::to_string(end) + ", but bytes " +
                                    std::to_string(offset) + " to " + std::to_string(offset + length) +
                                    " were expected.");
}

}  // namespace mora
