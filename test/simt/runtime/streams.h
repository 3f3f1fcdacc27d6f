// Streams as queues that run late. One thread, the worker, executes the work of all streams: when the host waits, or a
// little later by itself. It may take the streams in any order that events allow, given by the seed; it switches
// seldom, so that one stream gets far ahead of another and a missing dependency shows. The null stream is a stream like
// any other.
//
// Device memory is accessible to every thread of the process while the worker is busy, and inaccessible again before a
// waiting host thread continues: host code that accesses it without waiting may not be caught, but is after a wait.
#pragma once
#include <cuda_runtime.h>

#include <chrono>
#include <deque>
#include <functional>
#include <memory>

namespace simt {

/// One cudaEventRecord: done once the stream has reached it.
struct EventRecord {
  bool done = true;
  std::chrono::steady_clock::time_point time;
};

struct Work {
  std::function<void()> run;
  std::shared_ptr<EventRecord> awaits;  // may be null: must be done before
};

}  // namespace simt

struct CUstream_st {
  int device;
  std::deque<simt::Work> queue;
  bool busy = false;  // its first work is running
};

struct CUevent_st {
  std::shared_ptr<simt::EventRecord> record = std::make_shared<simt::EventRecord>();
};

namespace simt {

cudaStream_t createStream(int device);
/// Waits for the stream's remaining work.
void destroyStream(cudaStream_t stream);
/// Returns the stream, or for null the null stream of the calling thread's device.
cudaStream_t resolve(cudaStream_t stream);

void enqueue(cudaStream_t stream, Work work);
void record(cudaStream_t stream, cudaEvent_t event);

void waitForStream(cudaStream_t stream);
void waitForEvent(cudaEvent_t event);
void waitForDevice(int device);
bool finished(cudaStream_t stream);
bool finished(cudaEvent_t event);

/// The device of the calling thread.
int currentDevice();
void setCurrentDevice(int device);

/// The next number of the seeded sequence, or 0 if the seed is 0. Only the worker calls it.
uint64_t workerRandom();

}  // namespace simt
