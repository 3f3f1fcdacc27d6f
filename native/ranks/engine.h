// What connects ranks: the collectives of a library that is opened at run time.
#pragma once
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "core/error.h"

namespace mora::ranks {

enum class Number { float32, float64 };

constexpr size_t bytesOf(Number number) { return number == Number::float32 ? sizeof(float) : sizeof(double); }

/// This process's place among the ranks. All ranks call the same collectives in the same order with as many values.
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

  /// Adds up the values of all ranks in place; every rank gets the same bits.
  virtual void sum(std::byte* values, size_t count, Number number) = 0;
  virtual void broadcast(std::byte* bytes, size_t count, int from) = 0;
  /// all [size, count] = what each rank gives [count].
  virtual void gather(const std::byte* given, size_t count, std::byte* all) = 0;
  virtual void barrier() = 0;

  /// Called a few times a second while no collective runs. Throws once another rank is lost or has failed
  /// (`rank-failed`).
  virtual void tend() = 0;
  /// Tells the other ranks that one has failed; no collective follows, but `tend` does.
  virtual void fail(int rank, const std::string& why) = 0;
  /// Ends the whole job with exit code 1.
  virtual void abort() noexcept = 0;
  /// Says goodbye: no collective follows.
  virtual void finish() = 0;
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
