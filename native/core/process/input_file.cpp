#include "core/process/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace mora {

std::shared_ptr<InputFile> InputFile::open(const std::string& path) {
  // Does not block if the name is a pipe without a writer.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0)
    throw Error(errno == ENOENT ? "missing-file" : "unreadable-file",
                "Cannot open " + path + ": " + std::strerror(errno) + ".");
  struct stat facts {};
  if (fstat(descriptor, &facts) != 0 || !S_ISREG(facts.st_mode)) {
    ::close(descriptor);
    throw Error("unreadable-file", "Cannot read " + path + ": it is not a regular file.");
  }
  return std::shared_ptr<InputFile>(new InputFile(path, descriptor, static_cast<uint64_t>(facts.st_size)));
}

InputFile::~InputFile() { ::close(descriptor_); }

void InputFile::require(uint64_t offset, uint64_t length) const {
  if (offset > size_ || length > size_ - offset) failAtEnd(size_, offset, length);
}

void InputFile::read(uint64_t offset, std::byte* to, uint64_t length) const {
  constexpr uint64_t kMost = 1 << 30;  // of one call; the system reads slightly less than 2 GiB at most
  for (uint64_t at = 0; at < length;) {
    const ssize_t count = pread(descriptor_, to + at, std::min(kMost, length - at), static_cast<off_t>(offset + at));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw Error("unreadable-file", "Cannot read " + path_ + ": " + std::strerror(errno) + ".");
    if (count == 0) failAtEnd(offset + at, offset, length);
    at += static_cast<uint64_t>(count);
  }
}

void InputFile::failAtEnd(uint64_t end, uint64_t offset, uint64_t length) const {
  throw Error("malformed-file", path_ + " ends at byte " + std::to_string(end) + ", but bytes " +
                                    std::to_string(offset) + " to " + std::to_string(offset + length) +
                                    " were expected.");
}

}  // namespace mora
