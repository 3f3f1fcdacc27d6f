#include "ranks/group.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>
#include <string_view>
#include <thread>
#include <utility>

namespace mora::ranks {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

/// Between two looks at the other ranks.
constexpr auto kPause = 50ms;
/// The same between those at a GPU.
constexpr auto kLongestPause = 500us;

/// What a rank tells of its NCCL: the version, 0 with why there is none, and of rank 0 the id of the connection.
struct Offer {
  int32_t version = 0;
  NcclId id{};
  char why[1020] = "";

  void refuse(std::string_view reason) {
    version = 0;
    why[reason.copy(why, sizeof why - 1)] = '\0';
  }
};

Offer offerOf(const Nccl* library, const Absence& absence, bool isFirst) {
  Offer offer;
  if (!library) {
    offer.refuse(absence.text());
    return offer;
  }
  offer.version = library->version;
  if (isFirst && library->table.getUniqueId(&offer.id) != NcclResult::success)
    offer.refuse(std::string("ncclGetUniqueId failed: ") + library->table.getLastError(nullptr));
  return offer;
}

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

void Group::runOnGpus(const BeginOnGpus& begin, Done done) {
  std::shared_ptr<NcclRanks> gpus;
  bool isClosed;
  {
    const std::lock_guard lock(mutex_);
    gpus = gpus_;
    isClosed = closed_;
  }
  if (isClosed) return run({}, std::move(done));
  if (!gpus) throw Error("invalid-argument", "Expected connectDevice before what GPUs do together.");
  run([this, gpus, work = begin(*gpus)](Engine&) { finish(*gpus, *work); }, std::move(done));
}

std::string Group::connectDevice(Device& device) {
  Absence absence;
  const Nccl* const library = openNccl(absence);
  const Offer own = offerOf(library, absence, engine_->rank() == 0);
  const auto* const bytes = reinterpret_cast<const std::byte*>(&own);
  std::vector<Offer> offers;
  for (const std::vector<std::byte>& told : engine_->gather({bytes, bytes + sizeof own}))
    std::memcpy(&offers.emplace_back(), told.data(), sizeof own);
  const auto refusal = std::find_if(offers.begin(), offers.end(), [](const Offer& one) { return one.version == 0; });
  if (refusal != offers.end()) return "rank " + std::to_string(refusal - offers.begin()) + " has none: " + refusal->why;
  const auto other = std::find_if(offers.begin(), offers.end(),
                                  [&](const Offer& one) { return one.version != offers.front().version; });
  if (other != offers.end())
    throw Error("unlike-ranks", "Rank " + std::to_string(other - offers.begin()) + " has NCCL " +
                                    ncclVersionText(other->version) + ", but rank 0 has " +
                                    ncclVersionText(offers.front().version) + ": all ranks of a run need the same.");
  withNccl([&] {
    auto gpus = std::make_shared<NcclRanks>(*library, device, offers.front().id, engine_->rank(), engine_->size(),
                                            [this](const auto& isDone) { wait(isDone); });
    const std::lock_guard lock(mutex_);
    gpus_ = std::move(gpus);
  });
  return "";
}

void Group::finish(NcclRanks& gpus, NcclWork& work) {
  // NCCL waits for ever where others have begun something else.
  engine_->meetAlike(work.kind, work.values);
  withNccl([&] { gpus.finish(work, [this](const auto& isDone) { wait(isDone); }); });
}

/// Tends the other ranks until the condition holds. Throws where one is lost, or this one gives up.
void Group::wait(const std::function<bool()>& isDone) {
  for (Clock::duration pause = 20us; !isDone(); pause = std::min<Clock::duration>(2 * pause, kLongestPause)) {
    if (givesUp_) throw GivenUp{};
    engine_->tend();
    std::this_thread::sleep_for(pause);
  }
}

/// NCCL may say sooner than the engine that a rank is gone, but not which one and why.
template <typename Body>
void Group::withNccl(Body body) {
  std::string told;
  try {
    return body();
  } catch (const NcclFailed& failure) {
    endGpus();
    told = failure.what();
    const Clock::time_point end = Clock::now() + (failure.another ? limit_ / 2 + 1s : 0s);
    wait([&] { return Clock::now() >= end; });
  }
  throw Error("ranks-failed", "NCCL failed on rank " + std::to_string(engine_->rank()) + ": " + told + ".");
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
      const auto leave = [](Engine& engine) {
        engine.meetAlike(Kind::barrier, 0);
        engine.finish();
      };
      jobs_.push_back({leave, std::move(done), true});
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
      endGpus();
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
  {
    const std::lock_guard lock(mutex_);
    if (failure_) return;
    failure_ = error;
    failedRank_ = rank;
    failedAt_ = Clock::now();
    changed_.notify_all();
  }
  endGpus();
}

/// What a GPU has begun would wait for ever for others.
void Group::endGpus() {
  if (gpus_) gpus_->abort();
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
