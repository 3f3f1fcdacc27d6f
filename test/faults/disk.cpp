// A disk that fails, for LD_PRELOAD: calls that change files below MORA_FAULT_FOLDER are counted, and from the one with the
// number MORA_FAULT_AT on (from 1; 0: never) they fail. MORA_FAULT says how: kill (the process dies in the middle of that
// call), or ENOSPC, EIO, EROFS. With MORA_FAULT_COUNT, a file, the number of calls is written there at the end.
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

template <typename Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

const char* setting(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::atomic<long> changes{0};
std::atomic<bool> isWatched[65536];

bool isBelow(const char* path) {
  static const char* const folder = setting("MORA_FAULT_FOLDER");
  const size_t length = std::strlen(folder);
  return length > 0 && path && std::strncmp(path, folder, length) == 0;
}

bool isWatchedFile(int file) { return file >= 0 && file < 65536 && isWatched[file]; }

// Counts a change; true where it is to fail, with errno set. `half` is called before the process is killed.
template <typename Half>
bool fails(Half half) {
  static const long at = std::atol(setting("MORA_FAULT_AT"));
  static const char* const how = setting("MORA_FAULT");
  const long number = ++changes;
  if (at == 0 || number < at) return false;
  if (std::strcmp(how, "kill") == 0) {
    half();
    kill(getpid(), SIGKILL);
    for (;;) pause();
  }
  errno = std::strcmp(how, "EIO") == 0 ? EIO : std::strcmp(how, "EROFS") == 0 ? EROFS : ENOSPC;
  return true;
}

bool fails() {
  return fails([] {});
}

int opened(int file, bool watched) {
  if (file >= 0 && file < 65536) isWatched[file] = watched;
  return file;
}

template <typename Open>
int openBelow(const char* path, int flags, Open open) {
  const bool watched = isBelow(path);
  if (watched && (flags & (O_CREAT | O_TRUNC)) && fails()) return -1;
  return opened(open(), watched);
}

struct AtTheEnd {
  ~AtTheEnd() {
    const char* path = setting("MORA_FAULT_COUNT");
    if (std::FILE* file = *path ? std::fopen(path, "w") : nullptr) {
      std::fprintf(file, "%ld", changes.load());
      std::fclose(file);
    }
  }
} atTheEnd;

}  // namespace

#define OPEN(name)                                                                  \
  extern "C" int name(const char* path, int flags, ...) {                           \
    va_list more;                                                                   \
    va_start(more, flags);                                                          \
    const auto mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;   \
    va_end(more);                                                                   \
    static auto* const real = next<int(const char*, int, ...)>(#name);              \
    return openBelow(path, flags, [&] { return real(path, flags, mode); });         \
  }
OPEN(open)
OPEN(open64)

// A write that is cut by a kill leaves its first half.
extern "C" ssize_t write(int file, const void* data, size_t size) {
  static auto* const real = next<ssize_t(int, const void*, size_t)>("write");
  if (isWatchedFile(file) && fails([&] { (void)!real(file, data, size / 2); })) return -1;
  return real(file, data, size);
}

#define PWRITE(name)                                                                                \
  extern "C" ssize_t name(int file, const void* data, size_t size, off_t at) {                      \
    static auto* const real = next<ssize_t(int, const void*, size_t, off_t)>(#name);                \
    if (isWatchedFile(file) && fails([&] { (void)!real(file, data, size / 2, at); })) return -1;    \
    return real(file, data, size, at);                                                              \
  }
PWRITE(pwrite)
PWRITE(pwrite64)

extern "C" ssize_t writev(int file, const struct iovec* parts, int count) {
  static auto* const real = next<ssize_t(int, const struct iovec*, int)>("writev");
  return isWatchedFile(file) && fails() ? -1 : real(file, parts, count);
}

#define ON_FILE(name)                                                 \
  extern "C" int name(int file) {                                     \
    static auto* const real = next<int(int)>(#name);                  \
    return isWatchedFile(file) && fails() ? -1 : real(file);          \
  }
ON_FILE(fsync)
ON_FILE(fdatasync)

#define ON_PATH(name)                                                 \
  extern "C" int name(const char* path) {                             \
    static auto* const real = next<int(const char*)>(#name);          \
    return isBelow(path) && fails() ? -1 : real(path);                \
  }
ON_PATH(unlink)
ON_PATH(rmdir)

#define ON_PATHS(name)                                                            \
  extern "C" int name(const char* from, const char* to) {                         \
    static auto* const real = next<int(const char*, const char*)>(#name);         \
    return isBelow(to) && fails() ? -1 : real(from, to);                          \
  }
ON_PATHS(rename)
ON_PATHS(link)

extern "C" int mkdir(const char* path, mode_t mode) {
  static auto* const real = next<int(const char*, mode_t)>("mkdir");
  return isBelow(path) && fails() ? -1 : real(path, mode);
}

#define TRUNCATE(name)                                                     \
  extern "C" int name(int file, off_t size) {                              \
    static auto* const real = next<int(int, off_t)>(#name);                \
    return isWatchedFile(file) && fails() ? -1 : real(file, size);         \
  }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

extern "C" int close(int file) {
  static auto* const real = next<int(int)>("close");
  if (file >= 0 && file < 65536) isWatched[file] = false;
  return real(file);
}
