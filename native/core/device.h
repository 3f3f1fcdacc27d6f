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

/// Finds a backend: "cpu" is linked in, others are opened at run time. Returns null with the reason in `absence`.
const Backend* findBackend(const std::string& kind, Absence& absence);

class Device {
 public:
  /// The device of that kind and index, opened at the first call (later calls keep its threads). Throws Error with the
  /// reason if the backend is absent.
  static Device& open(const std::string& kind, int32_t index, int32_t threads);
  /// Stops every open device. Called when the process ends.
  static void shutdownAll();

  const std::string& kind() const { return kind_; }
  int32_t index() const { return index_; }
  std::string describe() const { return kind_ == "cpu" ? kind_ : kind_ + ":" + std::to_string(index_); }
  const Backend& backend() const { return *backend_; }
  Stream* stream() const { return stream_; }

  /// The backend's description of the device, with the current number of threads.
  DeviceFacts facts() const;
  /// 0 means all cores.
  void setThreads(int32_t threads);
  void setAllowTf32(bool allow) { check(backend_->setAllowTf32(stream_, allow), "setAllowTf32"); }
  void setRowsAlone(bool alone) { check(backend_->setRowsAlone(stream_, alone), "setRowsAlone"); }

  /// Throws Error("out-of-memory") with the figures if there is not enough memory.
  void* allocate(size_t bytes);
  void release(void* data) { backend_->release(stream_, data); }
  /// Bytes of tensors in memory that is not the device's own, as far as they count as this process's.
  uint64_t mappedBytes() const { return static_cast<uint64_t>(mapped_.load()); }
  void countMapped(int64_t bytes) { mapped_ += bytes; }
  /// Releases memory once everything enqueued so far is done.
  void letGo(std::shared_ptr<void> memory) noexcept;
  /// Writes bytes [offset, offset + bytes) of the source to `to`; threads of the backend may call it for several parts
  /// at the same time.
  using HostRead = std::function<void(std::byte* to, size_t offset, size_t bytes)>;
  /// Copies what `read` writes, in stream order, piece by piece; keeps `read` until then. Its exceptions fail the
  /// operation.
  void copyFromHost(void* target, size_t bytes, HostRead read);
  /// Copies to host memory in stream order; `keep` stays alive until then.
  void copyToHost(void* host, const void* source, size_t bytes, std::shared_ptr<void> keep);
  /// Calls `done` on a thread of the backend when everything before it is done.
  void callback(std::function<void(const StreamError&)> done);
  /// Throws Error unless status is ok, which means that the stream accepts no more work.
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
