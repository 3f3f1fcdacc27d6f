#include "simt/runtime/streams.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "simt/runtime/device_memory.h"
#include "simt/runtime/faults.h"
#include "simt/runtime/settings.h"

namespace simt {

namespace {

constexpr unsigned kChangeOfStream = 16;  // one choice in this many selects a new stream
constexpr size_t kMuchWork = 1024;        // so much waiting work is started at once
constexpr uint64_t kLatest = 300;         // microseconds that work may wait

thread_local int device = 0;
thread_local bool isWorker = false;

class Worker {
 public:
  static Worker& instance() {
    // Never destroyed: the process may end while the worker waits.
    static Worker& worker = *new Worker;
    return worker;
  }

  void add(cudaStream_t stream) {
    const std::lock_guard lock(mutex_);
    streams_.push_back(stream);
  }

  void remove(cudaStream_t stream) {
    const std::lock_guard lock(mutex_);
    std::erase(streams_, stream);
  }

  cudaStream_t nullStream(int of) {
    const std::lock_guard lock(mutex_);
    cudaStream_t& stream = nullStreams_[of];
    if (!stream) streams_.push_back(stream = new CUstream_st{of, {}});
    return stream;
  }

  void enqueue(cudaStream_t stream, Work work) {
    const std::lock_guard lock(mutex_);
    stream->queue.push_back(std::move(work));
    ++pending_;
    if (pending_ == 1 || pending_ == kMuchWork) wake_.notify_one();
  }

  void record(cudaStream_t stream, cudaEvent_t event) {
    const auto record = std::make_shared<EventRecord>();
    record->done = false;
    {
      const std::lock_guard lock(mutex_);
      event->record = record;
    }
    enqueue(stream, {[this, record] {
                       const std::lock_guard lock(mutex_);
                       record->done = true;
                       record->time = std::chrono::steady_clock::now();
                     },
                     nullptr});
  }

  std::shared_ptr<EventRecord> recordOf(cudaEvent_t event) {
    const std::lock_guard lock(mutex_);
    return event->record;
  }

  /// Waits until the condition holds, which only the worker's progress changes.
  template <typename Condition>
  void waitUntil(Condition holds) {
    if (isWorker) fail(std::source_location::current(), "a host function called the runtime, which CUDA forbids");
    std::unique_lock lock(mutex_);
    if (holds() && !working_) return;
    std::function<bool()> condition = holds;
    waiting_.push_back(&condition);
    wake_.notify_one();
    settled_.wait(lock, [&] { return !working_ && holds(); });
    std::erase(waiting_, &condition);
    lock.unlock();
    settled_.notify_all();
  }

  template <typename Question>
  auto ask(Question question) {
    const std::lock_guard lock(mutex_);
    return question();
  }

  const std::vector<cudaStream_t>& streams() const { return streams_; }

  uint64_t random() { return settings().seed ? random_() : 0; }

 private:
  Worker() : random_(settings().seed) {
    watchFaults();
    std::thread([this] { serve(); }).detach();
  }

  bool somebodyWaits() const { return !waiting_.empty(); }
  bool somebodyIsServed() const {
    return std::any_of(waiting_.begin(), waiting_.end(), [](const auto* condition) { return (*condition)(); });
  }

  static bool runnable(cudaStream_t stream) {
    return !stream->queue.empty() && (!stream->queue.front().awaits || stream->queue.front().awaits->done);
  }

  cudaStream_t choose() {
    std::vector<cudaStream_t> candidates;
    for (cudaStream_t stream : streams_)
      if (runnable(stream)) candidates.push_back(stream);
    if (candidates.empty()) return nullptr;
    const bool stay = std::find(candidates.begin(), candidates.end(), favourite_) != candidates.end();
    if (!stay || random() % kChangeOfStream == 1) favourite_ = candidates[random() % candidates.size()];
    return favourite_;
  }

  void serve() {
    isWorker = true;
    watchThisThread();
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return pending_ > 0; });
      const auto delay = std::chrono::microseconds(random() % kLatest);
      wake_.wait_for(lock, delay, [this] { return somebodyWaits() || pending_ >= kMuchWork; });
      work(lock);
    }
  }

  void work(std::unique_lock<std::mutex>& lock) {
    working_ = true;
    DeviceMemory::instance().beginWork();
    while (cudaStream_t stream = choose()) {
      stream->busy = true;
      const Work next = std::move(stream->queue.front());
      stream->queue.pop_front();
      lock.unlock();
      next.run();
      lock.lock();
      stream->busy = false;
      --pending_;
      if (somebodyIsServed()) break;
    }
    DeviceMemory::instance().endWork();
    working_ = false;
    settled_.notify_all();
    // A waiter takes the lock before more is started.
    if (somebodyIsServed()) settled_.wait(lock, [this] { return !somebodyIsServed(); });
  }

  std::mutex mutex_;
  std::condition_variable wake_, settled_;
  std::vector<cudaStream_t> streams_;
  std::map<int, cudaStream_t> nullStreams_;
  std::vector<const std::function<bool()>*> waiting_;
  cudaStream_t favourite_ = nullptr;
  size_t pending_ = 0;
  bool working_ = false;
  std::mt19937_64 random_;
};

bool idle(cudaStream_t stream) { return stream->queue.empty() && !stream->busy; }

}  // namespace

int currentDevice() { return device; }
void setCurrentDevice(int chosen) { device = chosen; }

cudaStream_t createStream(int of) {
  auto* stream = new CUstream_st{of, {}};
  Worker::instance().add(stream);
  return stream;
}

void destroyStream(cudaStream_t stream) {
  waitForStream(stream);
  Worker::instance().remove(stream);
  delete stream;
}

cudaStream_t resolve(cudaStream_t stream) { return stream ? stream : Worker::instance().nullStream(device); }

void enqueue(cudaStream_t stream, Work work) { Worker::instance().enqueue(resolve(stream), std::move(work)); }

void record(cudaStream_t stream, cudaEvent_t event) { Worker::instance().record(resolve(stream), event); }

void waitForStream(cudaStream_t stream) {
  Worker::instance().waitUntil([stream = resolve(stream)] { return idle(stream); });
}

void waitForEvent(cudaEvent_t event) {
  Worker::instance().waitUntil([record = Worker::instance().recordOf(event)] { return record->done; });
}

void waitForDevice(int of) {
  Worker& worker = Worker::instance();
  worker.waitUntil([&worker, of] {
    const auto& streams = worker.streams();
    return std::all_of(streams.begin(), streams.end(), [of](auto* s) { return s->device != of || idle(s); });
  });
}

bool finished(cudaStream_t stream) {
  return Worker::instance().ask([stream = resolve(stream)] { return idle(stream); });
}

bool finished(cudaEvent_t event) {
  return Worker::instance().ask([event] { return event->record->done; });
}

uint64_t workerRandom() { return Worker::instance().random(); }

}  // namespace simt
