#include "core/system/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace mora {

OpenFile::OpenFile(const std::string& path) : path_(path) {
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
  handle_ = descriptor;
  size_ = static_cast<uint64_t>(facts.st_size);
}

OpenFile::~OpenFile() { ::close(static_cast<int>(handle_)); }

uint64_t OpenFile::read(uint64_t offset, std::byte* to, uint64_t length) const {
  constexpr uint64_t kMost = 1 << 30;  // of one call; the system reads slightly less than 2 GiB at most
  for (;;) {
    const ssize_t count =
        pread(static_cast<int>(handle_), to, std::min(kMost, length), static_cast<off_t>(offset));
    if (count >= 0) return static_cast<uint64_t>(count);
    if (errno != EINTR) throw Error("unreadable-file", "Cannot read " + path_ + ": " + std::strerror(errno) + ".");
  }
}

}  // namespace mora
