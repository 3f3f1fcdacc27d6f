// How ranks know that the others live: each sends a beat to the next one and listens to the one before. One that
// computes for minutes still beats; one that is stopped or cut off does not. Word of a failure goes around the same
// way.
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <string>

#include "ranks/engine.h"

namespace mora::ranks {

enum class Word : int32_t { beat, failure, goodbye };

struct Beat {
  Word word = Word::beat;
  int32_t rank = 0;  // that has failed
  char why[504] = "";

  static Beat ofFailure(int rank, const std::string& why) {
    Beat beat;
    beat.word = Word::failure;
    beat.rank = rank;
    why.copy(beat.why, sizeof beat.why - 1);
    return beat;
  }

  /// Whoever sent it may have left out the end.
  std::string reason() const { return {why, strnlen(why, sizeof why)}; }
  RankFailed failure() const { return {rank, reason()}; }
};

inline int before(int rank, int size) { return (rank + size - 1) % size; }
inline int after(int rank, int size) { return (rank + 1) % size; }

/// How often a rank sends a beat, where one counts as lost after `silence`.
inline std::chrono::steady_clock::duration beatInterval(std::chrono::milliseconds silence) {
  using namespace std::chrono_literals;
  return std::min<std::chrono::steady_clock::duration>(1s, silence / 8);
}

inline std::string whySilent(std::chrono::milliseconds silence) {
  return "it has been silent for " + std::to_string(std::chrono::duration_cast<std::chrono::seconds>(silence).count()) +
         " s, so it was stopped, has ended or has lost its connection.";
}

}  // namespace mora::ranks
