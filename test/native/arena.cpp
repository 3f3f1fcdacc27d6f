// The allocator: statistics, joining of neighbours, best fit, and random operations against a simple model.
#include "core/arena.h"

#include <algorithm>
#include <random>
#include <stdexcept>
#include <vector>

#include "check.h"

using mora::Arena;

namespace {

constexpr uint64_t kUnit = Arena::kAlignment;

bool refuses(Arena& arena, uint64_t offset) {
  try {
    arena.release(offset);
  } catch (const std::logic_error&) {
    return true;
  }
  return false;
}

void figures() {
  Arena arena(10 * kUnit);
  CHECK(arena.inUse() == 0 && arena.peak() == 0 && arena.cached() == 0);
  const uint64_t nothing = arena.allocate(0), one = arena.allocate(1), more = arena.allocate(kUnit + 1);
  CHECK(nothing == 0 && one == kUnit && more == 2 * kUnit);  // even an empty block has its own address
  CHECK(arena.inUse() == 4 * kUnit && arena.peak() == 4 * kUnit && arena.cached() == 0);
  arena.release(one);
  CHECK(arena.inUse() == 3 * kUnit && arena.peak() == 4 * kUnit && arena.cached() == kUnit);
  arena.resetPeak();
  CHECK(arena.peak() == 3 * kUnit);
  CHECK(refuses(arena, one));
  CHECK(refuses(arena, more + kUnit));
  CHECK(arena.inUse() == 3 * kUnit);
}

void neighboursAreJoined() {
  // Three blocks, released in any order, become one again.
  int order[] = {0, 1, 2};
  do {
    Arena arena(3 * kUnit);
    const uint64_t blocks[] = {arena.allocate(kUnit), arena.allocate(kUnit), arena.allocate(kUnit)};
    CHECK(arena.allocate(1) == Arena::kNone);
    for (const int i : order) arena.release(blocks[i]);
    CHECK(arena.allocate(3 * kUnit) == 0);
  } while (std::next_permutation(order, order + 3));
}

void theSmallestThatFitsIsTaken() {
  Arena arena(100 * kUnit);
  const uint64_t large = arena.allocate(5 * kUnit), wall = arena.allocate(kUnit), small = arena.allocate(2 * kUnit);
  const uint64_t otherWall = arena.allocate(kUnit), alike = arena.allocate(2 * kUnit), end = arena.allocate(kUnit);
  for (const uint64_t block : {large, small, alike}) arena.release(block);
  CHECK(arena.allocate(2 * kUnit) == small);  // the lower one of two equal blocks
  CHECK(arena.allocate(kUnit) == alike);
  CHECK(arena.allocate(3 * kUnit) == large);
  for (const uint64_t block : {wall, otherWall, end}) arena.release(block);
}

void whatDoesNotFitChangesNothing() {
  Arena arena(4 * kUnit);
  arena.allocate(3 * kUnit);
  CHECK(arena.allocate(2 * kUnit) == Arena::kNone);
  CHECK(arena.inUse() == 3 * kUnit && arena.peak() == 3 * kUnit);
  CHECK(arena.allocate(kUnit) == 3 * kUnit);
}

/// A model of the arena, unit by unit.
struct Model {
  std::vector<int> owner;        // 0: free
  std::vector<bool> held;        // held from the system
  uint64_t inUse = 0, peak = 0;  // units

  uint64_t longestFree() const {
    uint64_t longest = 0, run = 0;
    for (const int by : owner) longest = std::max(longest, run = by ? 0 : run + 1);
    return longest;
  }
  uint64_t cached() const {
    uint64_t count = 0;
    for (size_t i = 0; i < owner.size(); ++i) count += held[i] && !owner[i];
    return count;
  }
};

void randomWork(uint64_t seed) {
  constexpr uint64_t kUnits = 400;
  std::mt19937_64 random(seed);
  Arena arena(kUnits * kUnit);
  Model model{std::vector<int>(kUnits), std::vector<bool>(kUnits)};
  std::vector<std::pair<uint64_t, uint64_t>> blocks;  // offset, units
  for (int step = 1; step < 4000; ++step) {
    const uint64_t choice = random() % 100;
    if (choice < 52) {
      const uint64_t bytes = random() % (choice < 5 ? 60 * kUnit : 6 * kUnit) + 1, units = (bytes + kUnit - 1) / kUnit;
      const uint64_t offset = arena.allocate(bytes);
      // Free neighbours are joined, so an allocation only fails if no run of free units is long enough.
      CHECK((offset == Arena::kNone) == (model.longestFree() < units));
      if (offset == Arena::kNone) continue;
      CHECK(offset % kUnit == 0 && offset / kUnit + units <= kUnits);
      for (uint64_t u = offset / kUnit; u < offset / kUnit + units; ++u) {
        CHECK(model.owner[u] == 0);
        model.owner[u] = step;
        model.held[u] = true;
      }
      model.inUse += units;
      model.peak = std::max(model.peak, model.inUse);
      blocks.emplace_back(offset, units);
    } else if (choice < 98) {
      if (blocks.empty()) continue;
      std::swap(blocks[random() % blocks.size()], blocks.back());
      const auto [offset, units] = blocks.back();
      blocks.pop_back();
      arena.release(offset);
      for (uint64_t u = offset / kUnit; u < offset / kUnit + units; ++u) model.owner[u] = 0;
      model.inUse -= units;
    } else if (choice < 99) {
      arena.resetPeak();
      model.peak = model.inUse;
    } else {
      for (const auto& [offset, bytes] : arena.takeCached())
        for (uint64_t u = offset / kUnit; u < (offset + bytes) / kUnit; ++u) {
          CHECK(model.owner[u] == 0);
          model.held[u] = false;
        }
      CHECK(model.cached() == 0);
    }
    CHECK(arena.inUse() == model.inUse * kUnit);
    CHECK(arena.peak() == model.peak * kUnit);
    CHECK(arena.cached() == model.cached() * kUnit);
    if (mora::test::failures() > 20) return;
  }
  for (const auto& [offset, units] : blocks) arena.release(offset);
  CHECK(arena.inUse() == 0);
  CHECK(arena.allocate(kUnits * kUnit) == 0);
}

}  // namespace

int main() {
  figures();
  neighboursAreJoined();
  theSmallestThatFitsIsTaken();
  whatDoesNotFitChangesNothing();
  for (uint64_t seed = 1; seed <= 5; ++seed) randomWork(seed);
  return mora::test::finish();
}
