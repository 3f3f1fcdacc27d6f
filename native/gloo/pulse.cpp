#include "gloo/pulse.h"

#include <gloo/common/error.h>
#include <gloo/transport/unbound_buffer.h>

#include <algorithm>
#include <thread>
#include <utility>

namespace mora::ranks {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr uint64_t kSlot = 1;
/// Between two looks at whether this rank gives up.
constexpr auto kPause = 50ms;

}  // namespace

Pulse::Pulse(std::shared_ptr<Mesh> mesh, std::shared_ptr<Mesh> interrupted, Terms terms)
    : mesh_(std::move(mesh)), interrupted_(std::move(interrupted)), terms_(std::move(terms)) {}

void Pulse::start() {
  std::thread([self = shared_from_this()] { self->beat(); }).detach();
  std::thread([self = shared_from_this()] { self->watch(); }).detach();
  std::thread([self = shared_from_this()] { self->listen(); }).detach();
}

std::optional<Beat> Pulse::failure() {
  const std::lock_guard lock(mutex_);
  return failure_;
}

std::optional<Beat> Pulse::awaitFailure() {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, terms_.silence, [this] { return failure_.has_value(); });
  return failure_;
}

void Pulse::fail(int rank, const std::string& why) { note(rank, why); }

void Pulse::sayGoodbye() {
  std::unique_lock lock(mutex_);
  leaves_ = true;
  changed_.notify_all();
  changed_.wait(lock, [this] { return (hasLeft_ && beforeHasLeft_) || failure_; });
  if (failure_) throw failure_->failure();
}

/// A send to a rank that is stopped never returns, so this thread does nothing else.
void Pulse::beat() {
  for (bool isLast = false; !isLast;) {
    Beat message;
    {
      std::unique_lock lock(mutex_);
      isLast = changed_.wait_for(lock, beatInterval(terms_.silence), [this] { return failure_ || leaves_; });
      if (failure_) {
        message = *failure_;
      } else if (isLast) {
        message.word = Word::goodbye;
      }
    }
    try {
      send(message);
    } catch (const gloo::Exception&) {
      // The next rank is gone, which the one after it tells.
    }
  }
  const std::lock_guard lock(mutex_);
  hasLeft_ = true;
  changed_.notify_all();
}

void Pulse::watch() {
  Clock::time_point last = Clock::now();
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      const bool hasFailed = changed_.wait_for(lock, kPause, [this] { return failure_.has_value(); });
      if (beforeHasLeft_ && !hasFailed) return;
      if (hasFailed || terms_.givesUp()) break;
    }
    // What this process was stopped itself is no silence of another.
    silence_ = silence_.load() + std::min<Clock::duration>(Clock::now() - last, 1s);
    last = Clock::now();
    if (silence_.load() <= terms_.silence) continue;
    note(before(), whySilent(terms_.silence));
  }
  interrupted_->interrupt();
}

void Pulse::listen() {
  Beat heard;
  const auto buffer = mesh_->createUnboundBuffer(&heard, sizeof heard);
  for (;;) {
    try {
      buffer->recv(before(), kSlot);
      buffer->waitRecv();
    } catch (const gloo::Exception&) {
      return note(before(), "it has ended or has lost its connection.");
    }
    silence_.store(std::chrono::steady_clock::duration::zero());
    if (heard.word == Word::failure) return note(heard.rank, heard.reason());
    if (heard.word == Word::goodbye) {
      const std::lock_guard lock(mutex_);
      beforeHasLeft_ = true;
      changed_.notify_all();
      return;
    }
  }
}

void Pulse::send(const Beat& message) {
  Beat copy = message;
  const auto buffer = mesh_->createUnboundBuffer(&copy, sizeof copy);
  buffer->send(after(), kSlot);
  buffer->waitSend();
}

/// The first failure counts.
void Pulse::note(int rank, const std::string& why) {
  const std::lock_guard lock(mutex_);
  if (failure_ || (hasLeft_ && beforeHasLeft_)) return;
  failure_ = Beat::ofFailure(rank, why);
  changed_.notify_all();
}

}  // namespace mora::ranks
