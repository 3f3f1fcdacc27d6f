#include "core/device.h"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>

namespace mora {

const Backend* cpuBackend();
const Backend* cudaBackend(Absence& absence);

const Backend* findBackend(const std::string& kind, Absence& absence) {
  if (kind == "cpu") return cpuBackend();
  if (kind == "cuda") return cudaBackend(absence);
  absence = {"there is no backend of that name; known are cpu and cuda", ""};
  return nullptr;
}

namespace {

struct Registry {
  std::mutex mutex;
  std::map<std::pair<std::string, int32_t>, std::unique_ptr<Device>> devices;
};

Registry& registry() {
  static auto* const instance = new Registry;  // outlives static destructors: the worker may still run
  return *instance;
}

void requireThreads(int32_t threads) {
  // Far more processors than any machine has.
  constexpr int32_t kMost = 1024;
  if (threads < 0 || threads > kMost)
    throw Error("invalid-argument",
                "Expected 0 to " + std::to_string(kMost) + " threads but received " + std::to_string(threads) + ".");
}

std::string mebibytes(uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MiB", static_cast<double>(bytes) / (1 << 20));
  return text;
}

}  // namespace

Device& Device::open(const std::string& kind, int32_t index, int32_t threads) {
  requireThreads(threads);
  Registry& known = registry();
  const std::lock_guard lock(known.mutex);
  auto& slot = known.devices[{kind, index}];
  if (slot) return *slot;
  Absence absence;
  const Backend* const backend = findBackend(kind, absence);
  if (!backend)
    throw Error("device-unavailable", "Device " + kind + " cannot be used: " + absence.text() + ".", absence.remedy);
  if (index < 0 || index >= backend->deviceCount())
    throw Error("device-unavailable", "Device " + kind + ":" + std::to_string(index) +
                                          " does not exist: this machine has " +
                                          std::to_string(backend->deviceCount()) + ".");
  Stream* stream = nullptr;
  char why[4096] = "";
  if (backend->streamCreate(index, threads, &stream, why, sizeof why) != Status::ok)
    throw Error("device-unavailable",
                "Device " + kind + ":" + std::to_string(index) + " could not be opened: " + why + ".");
  // No operation may run while libraries are torn down at the end of the process. Handlers run in reverse order, so
  // this one is registered after those that the backend's libraries registered when the stream was made. Libraries may
  // register more later, so the main thread's JavaScript calls `shutdown` before any handler runs, if it can.
  static const int registered = std::atexit(shutdownAll);
  (void)registered;
  slot.reset(new Device(kind, index, backend, stream, threads));
  return *slot;
}

void Device::shutdownAll() {
  Registry& known = registry();
  const std::lock_guard lock(known.mutex);
  for (const auto& [key, device] : known.devices)
    if (device) device->backend_->shutdown(device->stream_);
}

DeviceFacts Device::facts() const {
  DeviceFacts facts{};
  check(backend_->deviceFacts(index_, &facts), "deviceFacts");
  if (threads_ > 0 && kind_ == "cpu") facts.threads = threads_;
  return facts;
}

void Device::setThreads(int32_t threads) {
  requireThreads(threads);
  check(backend_->setThreads(stream_, threads), "setThreads");
  threads_ = threads;
}

void* Device::allocate(size_t bytes) {
  void* data = nullptr;
  const Status status = backend_->allocate(stream_, bytes, &data);
  if (status == Status::ok) return data;
  if (status != Status::outOfMemory) check(status, "allocate");
  MemoryFigures figures;
  backend_->memoryFigures(stream_, &figures);
  throw Error("out-of-memory", "Out of memory on " + describe() + ": " + mebibytes(bytes) + " were asked for, " +
                                   mebibytes(figures.inUse) + " are in use (peak " + mebibytes(figures.peak) +
                                   ", cached " + mebibytes(figures.cached) + ") of a limit of " +
                                   mebibytes(figures.limit) + ".");
}

void Device::copyFromHost(void* target, size_t bytes, HostRead read) {
  struct Source {
    HostRead read;
    std::mutex mutex;
    std::string why;  // the first failure
  };
  const auto readPart = [](void* user, void* to, size_t offset, size_t count) -> const char* {
    auto& source = *static_cast<Source*>(user);
    try {
      source.read(static_cast<std::byte*>(to), offset, count);
      return nullptr;
    } catch (const std::exception& failure) {
      const std::lock_guard lock(source.mutex);
      if (source.why.empty()) source.why = failure.what();
      if (source.why.ends_with('.')) source.why.pop_back();
      return source.why.c_str();
    }
  };
  const auto done = [](void* user) { delete static_cast<Source*>(user); };
  check(backend_->copyFromHost(stream_, target, bytes, {readPart, done, new Source{std::move(read), {}, {}}}),
        "copyFromHost");
}

void Device::copyToHost(void* host, const void* source, size_t bytes, std::shared_ptr<void> keep) {
  auto* const kept = new std::shared_ptr<void>(std::move(keep));
  const Status status = backend_->copyToHost(
      stream_, host, source, bytes, [](void* user) { delete static_cast<std::shared_ptr<void>*>(user); }, kept);
  check(status, "copyToHost");
}

void Device::letGo(std::shared_ptr<void> memory) noexcept {
  try {
    copyToHost(nullptr, nullptr, 0, std::move(memory));
  } catch (const std::exception&) {
    // A stream that refuses work no longer uses it.
  }
}

void Device::callback(std::function<void(const StreamError&)> done) {
  auto* const kept = new std::function<void(const StreamError&)>(std::move(done));
  const auto call = [](void* user, const StreamError* error) {
    const std::unique_ptr<std::function<void(const StreamError&)>> owned(
        static_cast<std::function<void(const StreamError&)>*>(user));
    (*owned)(*error);
  };
  check(backend_->callback(stream_, call, kept), "callback");
}

void Device::check(Status status, const char* operation) const {
  if (status == Status::ok) return;
  if (status == Status::unsupported)
    throw Error("unsupported", std::string(operation) + " is not supported on " + describe() + ".");
  const StreamError failure = backend_->failure(stream_);
  if (failure.status != Status::ok)
    throw Error("operation-failed", std::string(failure.operation) + " failed: " + failure.message + ".");
  throw Error("stream-closed", std::string(operation) + ": device " + describe() + " takes no more work.");
}

}  // namespace mora
