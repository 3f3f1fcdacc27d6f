// A device of this process: a backend and its one stream. Devices are opened once and never closed, so that every
// JavaScript environment (worker threads too) shares them.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "core/backend.h"
#include "core/error.h"

namespace mora {

/// Looks a backend up: "cpu" is linked in; others are opened at run time. Returns null with the reason in `absence`.
const Backend* findBackend(const std::string& kind, Absence& absence);

class Device {
 public:
  /// The device of that kind and index; opened at the first call (later calls keep its threads). Throws Error with the
  /// reason where the backend is absent.
  static Device& open(const std::string& kind, int32_t index, int32_t threads);
  /// Stops every open device: for the end of the process.
  static void shutdownAll();

  const std::string& kind() const { return kind_; }
  int32_t index() const { return index_; }
  std::string describe() const { return kind_ == "cpu" ? kind_ : kind_ + ":" + std::to_string(index_); }
  const Backend& backend() const { return *backend_; }
  Stream* stream() const { return stream_; }

  /// What the backend says of the device, with the threads in use now.
  DeviceFacts facts() const;
  /// 0: all cores.
  void setThreads(int32_t threads);
  void setAllowTf32(bool allow) { check(backend_->setAllowTf32(stream_, allow), "setAllowTf32"); }

  /// Throws Error("out-of-memory") with the figures when it cannot be met.
  void* allocate(size_t bytes);
  void release(void* data) { backend_->release(stream_, data); }
  /// Bytes of tensors that lie in memory of other kinds, as far as they count as this process's.
  uint64_t mappedBytes() const { return static_cast<uint64_t>(mapped_.load()); }
  void countMapped(int64_t bytes) { mapped_ += bytes; }
  /// Lets go of memory once everything enqueued so far is done.
  void letGo(std::shared_ptr<void> memory) noexcept;
  /// Writes bytes [offset, offset + bytes) of what is copied to `to`; threads of the backend may call it for several
  /// parts at the same time.
  using HostRead = std::function<void(std::byte* to, size_t offset, size_t bytes)>;
  /// Copies what `read` reads, in stream order, piece by piece; it is kept until then. What it throws fails the
  /// operation.
  void copyFromHost(void* target, size_t bytes, HostRead read);
  /// Copies to host memory in stream order; `keep` stays alive until then.
  void copyToHost(void* host, const void* source, size_t bytes, std::shared_ptr<void> keep);
  /// Calls `done` on a thread of the backend when all before it is done.
  void callback(std::function<void(const StreamError&)> done);
  /// Throws Error unless status is ok: the stream takes no more work.
  void check(Status status, const char* operation) const;

 private:
  Device(std::string kind, int32_t index, const Backend* backend, Stream* stream, int32_t threads)
      : kind_(std::move(kind)), index_(index), backend_(backend), stream_(stream), threads_(threads) {}

  std::string kind_;
  int32_t index_;
  const Backend* backend_;
  Stream* stream_;
  std::atomic<int32_t> threads_;
  std::atomic<int64_t> mapped_ = 0;
};

}  // namespace mora
