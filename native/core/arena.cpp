#include "core/arena.h"

#include <algorithm>
#include <stdexcept>

namespace mora {

Arena::Arena(uint64_t capacity) { addFree(0, capacity); }

uint64_t Arena::allocate(uint64_t bytes) {
  bytes = (std::max<uint64_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
  const auto fit = freeBySize_.lower_bound({bytes, 0});
  if (fit == freeBySize_.end()) return kNone;
  const auto [available, offset] = *fit;
  removeFree(free_.find(offset));
  if (available > bytes) addFree(offset + bytes, available - bytes);
  used_[offset] = bytes;
  inUse_ += bytes;
  peak_ = std::max(peak_, inUse_);
  highWater_ = std::max(highWater_, offset + bytes);
  takeBack(offset, offset + bytes);
  return offset;
}

void Arena::release(uint64_t offset) {
  const auto block = used_.find(offset);
  if (block == used_.end()) throw std::logic_error("arena: released a block that is not in use");
  uint64_t bytes = block->second;
  used_.erase(block);
  inUse_ -= bytes;
  auto next = free_.lower_bound(offset);
  if (next != free_.end() && next->first == offset + bytes) {
    bytes += next->second;
    const auto joined = next++;
    removeFree(joined);
  }
  if (next != free_.begin()) {
    const auto previous = std::prev(next);
    if (previous->first + previous->second == offset) {
      offset = previous->first;
      bytes += previous->second;
      removeFree(previous);
    }
  }
  addFree(offset, bytes);
}

std::vector<std::pair<uint64_t, uint64_t>> Arena::takeCached() {
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  const uint64_t end = used_.empty() ? 0 : used_.rbegin()->first + used_.rbegin()->second;
  returned_.clear();
  returnedBytes_ = 0;
  for (const auto& [offset, bytes] : free_) {
    if (offset >= highWater_) continue;
    ranges.emplace_back(offset, std::min(bytes, highWater_ - offset));
    if (offset >= end) continue;
    returned_[offset] = offset + bytes;
    returnedBytes_ += bytes;
  }
  highWater_ = end;
  return ranges;
}

// A reused range no longer counts as returned to the system.
void Arena::takeBack(uint64_t from, uint64_t to) {
  auto range = returned_.upper_bound(from);
  if (range != returned_.begin()) --range;
  while (range != returned_.end() && range->first < to) {
    const auto [start, end] = *range;
    if (end <= from) {
      ++range;
      continue;
    }
    range = returned_.erase(range);
    if (start < from) returned_[start] = from;
    if (end > to) returned_[to] = end;
    returnedBytes_ -= std::min(end, to) - std::max(start, from);
  }
}

void Arena::addFree(uint64_t offset, uint64_t bytes) {
  free_[offset] = bytes;
  freeBySize_.insert({bytes, offset});
}

void Arena::removeFree(std::map<uint64_t, uint64_t>::iterator block) {
  freeBySize_.erase({block->second, block->first});
  free_.erase(block);
}

}  // namespace mora
