#include "ranks/group.h"

#include <cstdio>
#include <new>
#include <thread>
#include <utility>

namespace mora::ranks {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

/// Between two looks at the other ranks.
constexpr auto kPause = 50ms;

}  // namespace

std::shared_ptr<Group> Group::begin(Start start, std::chrono::milliseconds limit, Done started) {
  auto group = std::make_shared<Group>(limit);
  // The thread may outlive the environment that began it.
  std::thread([group, start = std::move(start), started = std::move(started)] {
    group->work(start, started);
  }).detach();
  return group;
}

void Group::run(Task task, Done done) {
  {
    const std::lock_guard lock(mutex_);
    if (!closed_) {
      jobs_.push_back({std::move(task), std::move(done)});
      wake_.notify_one();
      return;
    }
  }
  done(Error("ranks-closed", "These ranks are closed."));
}

void Group::fail(std::string why) {
  const std::lock_guard lock(mutex_);
  if (givesUp_) return;
  reason_ = std::move(why);
  givesUp_ = true;
  wake_.notify_one();
}

void Group::close(Done done) {
  {
    const std::lock_guard lock(mutex_);
    if (!closed_) {
      closed_ = true;
      jobs_.push_back({[](Engine& engine) { engine.finish(); }, std::move(done), true});
      wake_.notify_one();
      return;
    }
  }
  done(std::nullopt);
}

void Group::end(int exitCode) {
  std::unique_lock lock(mutex_);
  if (hasEnded_ || !hasStarted_) return;
  if (exitCode == 0 && !failure_) {
    lock.unlock();
    close([](const std::optional<Error>&) {});
    lock.lock();
  } else {
    lock.unlock();
    fail("it ended with exit code " + std::to_string(exitCode) + ".");
    lock.lock();
    isEnding_ = true;
    changed_.wait_for(lock, 1s, [this] { return failure_.has_value(); });
    const bool isFirstOfOthers = engine_->rank() == (failedRank_ == 0 ? 1 : 0);
    if (isFirstOfOthers) aborts_ = true;
    wake_.notify_one();
  }
  changed_.wait_for(lock, limit_, [this] { return hasEnded_; });
}

void Group::work(const Start& start, const Done& started) {
  attempt([&] { engine_ = start({limit_ / 2, [this] { return givesUp_.load(std::memory_order_relaxed); }}); });
  {
    const std::lock_guard lock(mutex_);
    hasStarted_ = !failure_;
    hasEnded_ = !hasStarted_;
  }
  started(failure_);
  while (!hasEnded_) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      const auto isToGiveUp = [this] { return givesUp_ && !failure_; };
      wake_.wait_for(lock, kPause, [&] { return !jobs_.empty() || aborts_ || isToGiveUp(); });
      if (!jobs_.empty() && !isToGiveUp()) {
        job = std::move(jobs_.front());
        jobs_.pop_front();
      }
    }
    if (givesUp_) giveUp();
    if (job.task) perform(job);
    const bool isDone = job.last && !failure_;
    if (!isDone) attempt([&] { engine_->tend(); });
    const bool isLate = failure_ && Clock::now() - failedAt_ > limit_ / 2;
    if (isLate && !isEnding_) std::fprintf(stderr, "mora: %s\n", failure_->what());
    if (isLate || aborts_) engine_->abort();
    if (isDone || isLate || aborts_) {
      const std::lock_guard lock(mutex_);
      hasEnded_ = true;
      changed_.notify_all();
    }
  }
}

void Group::perform(const Job& job) {
  if (!failure_ && !attempt([&] { job.task(*engine_); })) abandoned_.push_back(job.task);
  job.done(failure_);
}

/// False when it threw.
bool Group::attempt(const std::function<void()>& body) {
  try {
    body();
    return true;
  } catch (const GivenUp&) {
    giveUp();
  } catch (const RankFailed& error) {
    note(error, error.rank);
  } catch (const RanksDiffer& error) {
    note(error);
  } catch (const Error& error) {
    note(error);
    tell(error.what());
  } catch (const std::bad_alloc&) {
    note(Error("out-of-memory", "The system has no memory left for what ranks exchange."));
    tell(failure_->what());
  }
  return false;
}

void Group::giveUp() {
  if (failure_) return;
  note(RankFailed(engine_->rank(), reason_), engine_->rank());
  tell(reason_);
}

void Group::note(const Error& error, int rank) {
  const std::lock_guard lock(mutex_);
  if (failure_) return;
  failure_ = error;
  failedRank_ = rank;
  failedAt_ = Clock::now();
  changed_.notify_all();
}

void Group::tell(const std::string& why) {
  if (!engine_) return;
  try {
    engine_->fail(engine_->rank(), why);
  } catch (const Error&) {
    // Others then find this rank silent.
  }
}

}  // namespace mora::ranks
