#include "core/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace mora {

std::shared_ptr<MappedFile> MappedFile::open(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0)
    throw Error(errno == ENOENT ? "missing-file" : "unreadable-file",
                "Cannot open " + path + ": " + std::strerror(errno) + ".");
  struct stat facts {};
  const bool regular = fstat(descriptor, &facts) == 0 && S_ISREG(facts.st_mode);
  const auto size = static_cast<uint64_t>(facts.st_size);
  void* data = regular && size > 0 ? mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0) : nullptr;
  const int problem = errno;
  ::close(descriptor);
  if (!regular) throw Error("unreadable-file", "Cannot map " + path + ": it is not a regular file.");
  if (data == MAP_FAILED) throw Error("unreadable-file", "Cannot map " + path + ": " + std::strerror(problem) + ".");
  return std::shared_ptr<MappedFile>(new MappedFile(path, static_cast<const std::byte*>(data), size));
}

MappedFile::~MappedFile() {
  if (data_) munmap(const_cast<std::byte*>(data_), size_);
}

const std::byte* MappedFile::range(uint64_t offset, uint64_t length) const {
  if (offset > size_ || length > size_ - offset)
    throw Error("malformed-file", path_ + " ends at byte " + std::to_string(size_) + ", but bytes " +
                                      std::to_string(offset) + " to " + std::to_string(offset + length) +
                                      " were expected.");
  return data_ + offset;
}

}  // namespace mora
