// What connects ranks: the collectives of a library that is opened at run time.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"

namespace mora::ranks {

/// What a rank is about to do, as ranks compare it.
enum class Kind : uint32_t { sum = 1, broadcast, gather, barrier, sumOnGpus, gatherOnGpus };

/// This process's place among the ranks. All ranks call the same collectives in the same order.
/// Only one thread calls an engine, which it was made on, so that a library need not know threads.
class Engine {
 public:
  Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  virtual ~Engine() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// The library with its version.
  virtual std::string library() const = 0;

  /// Returns once every rank is about to do the same: the counts of all, by rank. Throws RanksDiffer where one does
  /// something else, since a collective would wait for ever then.
  std::vector<uint64_t> meet(Kind kind, uint64_t count, int from = 0);
  /// The same where every rank has as many.
  void meetAlike(Kind kind, uint64_t count);

  /// Adds up [count] values of all ranks in place; every rank gets the same bits.
  void sum(float* values, size_t count);
  /// Replaces bytes by those of one rank, which may be more or fewer.
  void broadcast(std::vector<std::byte>& bytes, int from);
  /// What each rank gives, by rank, which may be more or fewer.
  std::vector<std::vector<std::byte>> gather(const std::vector<std::byte>& given);
  /// all [size, count] = what each rank gives [count].
  void gather(const std::byte* given, size_t count, std::byte* all);

  /// Called a few times a second while no collective runs. Throws once another rank is lost or has failed
  /// (`rank-failed`).
  virtual void tend() = 0;
  /// Tells the other ranks that one has failed; no collective follows, but `tend` does.
  virtual void fail(int rank, const std::string& why) = 0;
  /// Ends the whole job with exit code 1.
  virtual void abort() noexcept = 0;
  /// Says goodbye, once all ranks have met for it: no collective follows.
  virtual void finish() = 0;

 protected:
  // The library's collectives, with at least one value, which is as many on all ranks.

  virtual void allReduce(float* values, size_t count) = 0;
  virtual void send(std::byte* bytes, size_t count, int from) = 0;
  /// @param late ranks may come long after each other, so waiting must not take a processor from one that computes
  virtual void allGather(const std::byte* given, size_t count, std::byte* all, bool late) = 0;

 private:
  struct Plan {
    uint32_t kind;
    int32_t from;
    uint64_t count;
  };
  // Where a rank gives up, its library may still be at work on these.
  Plan own_{};
  std::vector<Plan> plans_;
  std::vector<std::byte> given_, gathered_;
};

/// What an engine is told of its process.
struct Terms {
  /// Silence of a rank after which it counts as lost.
  std::chrono::milliseconds silence;
  /// Whether this rank gives up; a collective that waits throws then.
  std::function<bool()> givesUp;
};

/// What a collective throws that waits while its rank gives up.
struct GivenUp {};

/// Ranks do not do the same, which all of them find at once.
struct RanksDiffer : Error {
  RanksDiffer()
      : Error("ranks-differ",
              "Ranks do not do the same: each has to make the same calls in the same order, with as many values.") {}
};

/// A rank cannot go on.
class RankFailed : public Error {
 public:
  RankFailed(int rank, const std::string& why)
      : Error("rank-failed", "Rank " + std::to_string(rank) + " failed: " + why), rank(rank) {}
  const int rank;
};

}  // namespace mora::ranks
