// The ranks of this process: an engine on a thread of its own.
#pragma once
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "core/error.h"
#include "ranks/engine.h"
#include "ranks/nccl.h"

namespace mora::ranks {

/// Collectives in the order in which they are asked for. Once one has failed, or another rank has, all that follow fail
/// for the same reason, and the job has half of the limit to end by itself; then the group says why and ends it.
class Group {
 public:
  using Start = std::function<std::unique_ptr<Engine>(Terms)>;
  using Task = std::function<void(Engine&)>;
  using Done = std::function<void(const std::optional<Error>&)>;

  /// Starts the engine on the group's thread; `started` is called once it runs or has failed. From when a rank is lost
  /// to the end of the job it takes at most the limit.
  static std::shared_ptr<Group> begin(Start start, std::chrono::milliseconds limit, Done started);
  explicit Group(std::chrono::milliseconds limit) : limit_(limit) {}

  /// Runs a collective. `done` is called on the group's thread.
  void run(Task task, Done done);
  /// Begins a collective of GPUs that are connected, at once, as `run` does others; `done` is called once it is done.
  using BeginOnGpus = std::function<std::shared_ptr<NcclWork>(NcclRanks&)>;
  void runOnGpus(const BeginOnGpus& begin, Done done);
  /// Within a task: connects the GPUs of all ranks. A sentence without its full stop that says why not, where a rank
  /// has no NCCL, which is the same on all.
  std::string connectDevice(Device& device);
  /// Whether this rank gives up: a task that waits for anything else then ends with GivenUp.
  bool givesUp() const { return givesUp_.load(std::memory_order_relaxed); }
  /// Gives up: collectives of all ranks fail from here on.
  void fail(std::string why);
  /// Says goodbye after all that was asked for; `done` follows.
  void close(Done done);
  /// At the end of the process: says goodbye, or, with an exit code, ends the whole job. Where a rank has failed, the
  /// first of the others ends it, since it may be saving what can be saved, and all wait for that.
  void end(int exitCode);

  /// After `started`.
  const Engine& engine() const { return *engine_; }

 private:
  struct Job {
    Task task;
    Done done;
    bool last = false;
  };

  void work(const Start& start, const Done& started);
  void perform(const Job& job);
  bool attempt(const std::function<void()>& body);
  void wait(const std::function<bool()>& isDone);
  void finish(NcclRanks& gpus, NcclWork& work);
  template <typename Body>
  void withNccl(Body body);
  void giveUp();
  void note(const Error& error, int rank = -1);
  void endGpus();
  void tell(const std::string& why);

  const std::chrono::milliseconds limit_;
  std::unique_ptr<Engine> engine_;  // the group's thread's, but for what never changes
  std::deque<Task> abandoned_;      // tasks that failed: the engine may still be at work on what they hold

  std::mutex mutex_;
  std::condition_variable wake_, changed_;
  std::deque<Job> jobs_;
  std::shared_ptr<NcclRanks> gpus_;  // the group's thread alone writes it
  std::optional<Error> failure_;     // the group's thread alone writes it and what belongs to it
  int failedRank_ = -1;
  std::chrono::steady_clock::time_point failedAt_;
  std::string reason_;  // why this rank gives up
  std::atomic<bool> givesUp_ = false, aborts_ = false, isEnding_ = false;
  bool hasStarted_ = false, hasEnded_ = false, closed_ = false;
};

}  // namespace mora::ranks
