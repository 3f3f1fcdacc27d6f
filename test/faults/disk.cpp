// A disk that fails, for LD_PRELOAD: calls that change files below MORA_FAULT_FOLDER are counted, and from the one with the
// number MORA_FAULT_AT on (from 1; 0: never) they fail. MORA_FAULT says how: kill (the process dies in the middle of that
// call), or ENOSPC, EIO, EROFS. With MORA_FAULT_AFTER it is killed so many microseconds after the first change, wherever it
// is then. With MORA_FAULT_COUNT, a file, the number of calls and the microseconds since the first are written there at the
// end. With MORA_FAULT_JOURNAL, a file, what the calls did is written there, one record each (see power-cut.ts).
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace {

using Clock = std::chrono::steady_clock;

template <typename Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

const char* setting(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::atomic<long> changes{0};
std::atomic<Clock::time_point> began{};
std::atomic<bool> isWatched[65536];

bool isBelow(const char* path) {
  static const char* const folder = setting("MORA_FAULT_FOLDER");
  const size_t length = std::strlen(folder);
  return length > 0 && path && std::strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == 0);
}

/// Sockets and pipes take over the numbers of closed files without `open`. They have no position.
bool isWatchedFile(int file) {
  return file >= 0 && file < 65536 && isWatched[file] && lseek(file, 0, SEEK_CUR) >= 0;
}

// What was done, in its order: a call and its record are one step.
class Journal {
 public:
  static Journal& get() {
    static Journal journal;
    return journal;
  }

  bool isKept() const { return file_ >= 0; }

  std::unique_lock<std::recursive_mutex> turn() {
    return isKept() ? std::unique_lock(mutex_) : std::unique_lock<std::recursive_mutex>();
  }

  void add(const char* call, long file, long number, std::string_view first, std::string_view second = {}) {
    char head[128];
    const int length =
        std::snprintf(head, sizeof head, "%s %ld %ld %zu %zu\n", call, file, number, first.size(), second.size());
    const auto part = [](const void* data, size_t size) { return iovec{const_cast<void*>(data), size}; };
    const iovec parts[] = {part(head, length), part(first.data(), first.size()), part(second.data(), second.size())};
    static auto* const real = next<ssize_t(int, const iovec*, int)>("writev");
    (void)!real(file_, parts, 3);
  }

 private:
  Journal() {
    const char* path = setting("MORA_FAULT_JOURNAL");
    if (*path) file_ = next<int(const char*, int, ...)>("open")(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  }

  int file_ = -1;
  std::recursive_mutex mutex_;
};

// Makes a call, and adds it to the journal where that is kept.
template <typename Call, typename Record>
auto journalled(Call call, Record record) {
  const auto turn = Journal::get().turn();
  const auto result = call();
  if (result < 0 || !Journal::get().isKept()) return result;
  const int error = errno;
  record(result);
  errno = error;
  return result;
}

template <typename Half>
void die(Half half) {
  const auto turn = Journal::get().turn();
  half();
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

void begin() {
  began = Clock::now();
  const char* const after = setting("MORA_FAULT_AFTER");
  if (!*after) return;
  std::thread([time = std::chrono::microseconds(std::atol(after))] {
    std::this_thread::sleep_for(time);
    die([] {});
  }).detach();
}

// Counts a change; true where it is to fail, with errno set. `half` is called before the process is killed.
template <typename Half>
bool fails(Half half) {
  static const long at = std::atol(setting("MORA_FAULT_AT"));
  static const char* const how = setting("MORA_FAULT");
  const long number = ++changes;
  if (number == 1) begin();
  if (at == 0 || number < at) return false;
  if (std::strcmp(how, "kill") == 0) die(half);
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
  if (!isBelow(path)) return opened(open(), false);
  if ((flags & (O_CREAT | O_TRUNC)) && fails()) return -1;
  return opened(journalled(open, [&](int file) { Journal::get().add("open", file, flags, path); }), true);
}

// `write` writes at most so many bytes; a write that is cut by a kill leaves its first half. `end` is where it ended.
template <typename Write, typename End>
ssize_t writeWatched(int file, const void* data, size_t size, Write write, End end) {
  const auto part = [&](size_t most) {
    return journalled([&] { return write(most); },
                      [&](ssize_t written) {
                        const std::string_view bytes(static_cast<const char*>(data), written);
                        Journal::get().add("write", file, end(written) - written, bytes);
                      });
  };
  return fails([&] { part(size / 2); }) ? -1 : part(size);
}

struct AtTheEnd {
  ~AtTheEnd() {
    const char* path = setting("MORA_FAULT_COUNT");
    const long count = changes;
    if (!*path || count == 0) return;
    if (std::FILE* file = std::fopen(path, "w")) {
      const auto time = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - began.load());
      std::fprintf(file, "%ld %ld", count, static_cast<long>(time.count()));
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

extern "C" ssize_t write(int file, const void* data, size_t size) {
  static auto* const real = next<ssize_t(int, const void*, size_t)>("write");
  if (!isWatchedFile(file)) return real(file, data, size);
  return writeWatched(
      file, data, size, [&](size_t most) { return real(file, data, most); },
      [&](ssize_t) { return lseek(file, 0, SEEK_CUR); });
}

#define PWRITE(name)                                                                    \
  extern "C" ssize_t name(int file, const void* data, size_t size, off_t at) {          \
    static auto* const real = next<ssize_t(int, const void*, size_t, off_t)>(#name);    \
    if (!isWatchedFile(file)) return real(file, data, size, at);                        \
    return writeWatched(                                                                \
        file, data, size, [&](size_t most) { return real(file, data, most, at); },      \
        [&](ssize_t written) { return at + written; });                                 \
  }
PWRITE(pwrite)
PWRITE(pwrite64)

extern "C" ssize_t writev(int file, const struct iovec* parts, int count) {
  static auto* const real = next<ssize_t(int, const struct iovec*, int)>("writev");
  if (!isWatchedFile(file)) return real(file, parts, count);
  std::string bytes;
  for (const iovec* part = parts; part != parts + count; part++) {
    bytes.append(static_cast<const char*>(part->iov_base), part->iov_len);
  }
  static auto* const plain = next<ssize_t(int, const void*, size_t)>("write");
  return writeWatched(
      file, bytes.data(), bytes.size(), [&](size_t most) { return plain(file, bytes.data(), most); },
      [&](ssize_t) { return lseek(file, 0, SEEK_CUR); });
}

#define SYNC(name)                                                                                          \
  extern "C" int name(int file) {                                                                           \
    static auto* const real = next<int(int)>(#name);                                                        \
    if (!isWatchedFile(file)) return real(file);                                                            \
    if (fails()) return -1;                                                                                 \
    return journalled([&] { return real(file); }, [&](int) { Journal::get().add("sync", file, 0, {}); });   \
  }
SYNC(fsync)
SYNC(fdatasync)

#define TRUNCATE(name)                                                                   \
  extern "C" int name(int file, off_t size) {                                            \
    static auto* const real = next<int(int, off_t)>(#name);                              \
    if (!isWatchedFile(file)) return real(file, size);                                   \
    if (fails()) return -1;                                                              \
    return journalled([&] { return real(file, size); },                                  \
                      [&](int) { Journal::get().add("truncate", file, size, {}); });     \
  }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

#define ON_PATH(name)                                                                                         \
  extern "C" int name(const char* path) {                                                                     \
    static auto* const real = next<int(const char*)>(#name);                                                  \
    if (!isBelow(path)) return real(path);                                                                    \
    if (fails()) return -1;                                                                                   \
    return journalled([&] { return real(path); }, [&](int) { Journal::get().add("remove", 0, 0, path); });    \
  }
ON_PATH(unlink)
ON_PATH(rmdir)
ON_PATH(remove)

#define ON_PATHS(name)                                                                                              \
  extern "C" int name(const char* from, const char* to) {                                                           \
    static auto* const real = next<int(const char*, const char*)>(#name);                                           \
    if (!isBelow(to)) return real(from, to);                                                                        \
    if (fails()) return -1;                                                                                         \
    return journalled([&] { return real(from, to); }, [&](int) { Journal::get().add(#name, 0, 0, from, to); });     \
  }
ON_PATHS(rename)
ON_PATHS(link)

extern "C" int mkdir(const char* path, mode_t mode) {
  static auto* const real = next<int(const char*, mode_t)>("mkdir");
  if (!isBelow(path)) return real(path, mode);
  if (fails()) return -1;
  return journalled([&] { return real(path, mode); }, [&](int) { Journal::get().add("mkdir", 0, 0, path); });
}

extern "C" int close(int file) {
  static auto* const real = next<int(int)>("close");
  if (file >= 0 && file < 65536) isWatched[file] = false;
  return real(file);
}
