#include "ranks/engine.h"

#include <algorithm>

namespace mora::ranks {

std::vector<uint64_t> Engine::meet(Kind kind, uint64_t count, int from) {
  own_ = {static_cast<uint32_t>(kind), from, count};
  plans_.resize(static_cast<size_t>(size()));
  allGather(reinterpret_cast<const std::byte*>(&own_), sizeof own_, reinterpret_cast<std::byte*>(plans_.data()), true);
  std::vector<uint64_t> counts;
  for (const Plan& plan : plans_) {
    if (plan.kind != own_.kind || plan.from != own_.from) throw RanksDiffer();
    counts.push_back(plan.count);
  }
  return counts;
}

void Engine::meetAlike(Kind kind, uint64_t count) {
  for (const uint64_t other : meet(kind, count))
    if (other != count) throw RanksDiffer();
}

void Engine::sum(float* values, size_t count) {
  meetAlike(Kind::sum, count);
  if (count > 0) allReduce(values, count);
}

void Engine::broadcast(std::vector<std::byte>& bytes, int from) {
  bytes.resize(meet(Kind::broadcast, bytes.size(), from)[static_cast<size_t>(from)]);
  if (!bytes.empty()) send(bytes.data(), bytes.size(), from);
}

std::vector<std::vector<std::byte>> Engine::gather(const std::vector<std::byte>& given) {
  const std::vector<uint64_t> counts = meet(Kind::gather, given.size());
  const size_t most = *std::max_element(counts.begin(), counts.end());
  given_ = given;
  given_.resize(most);
  gathered_.resize(most * counts.size());
  if (most > 0) allGather(given_.data(), most, gathered_.data(), false);
  std::vector<std::vector<std::byte>> lists;
  for (size_t rank = 0; rank < counts.size(); ++rank) {
    const std::byte* const first = gathered_.data() + rank * most;
    lists.emplace_back(first, first + counts[rank]);
  }
  given_ = {};
  gathered_ = {};
  return lists;
}

void Engine::gather(const std::byte* given, size_t count, std::byte* all) {
  meetAlike(Kind::gather, count);
  if (count > 0) allGather(given, count, all, false);
}

}  // namespace mora::ranks
