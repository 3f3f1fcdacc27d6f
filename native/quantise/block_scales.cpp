#include "quantise/block_scales.h"

#include <algorithm>
#include <cstring>
#include <future>
#include <memory>

namespace mora::quantise {
namespace {

/// Bytes read at a time, so that they stay in the cache until they are checked.
constexpr uint64_t kPiece = 1 << 18;
/// Fewer bytes do not justify a thread.
constexpr uint64_t kLeast = 1 << 21;

bool isNotFinite(const std::byte* scale) {
  constexpr uint16_t kExponent = 0x7C00;  // of a float16: all ones for infinity and NaN
  uint16_t bits;
  std::memcpy(&bits, scale, sizeof bits);
  return (bits & kExponent) == kExponent;
}

/// The index of the first block at `bytes` with a non-finite scale, or `count`.
uint64_t firstIn(const std::byte* bytes, uint64_t count, const BlocksInFile& blocks) {
  const uint64_t step = blocks.bytesOfOne;
  bool isSound = true;
  // Without a branch out of the loop, so that it vectorises.
  for (const uint64_t place : blocks.places)
    for (uint64_t i = 0; i < count; ++i) isSound &= !isNotFinite(bytes + i * step + place);
  if (isSound) return count;
  const auto isUnsound = [&](uint64_t i) {
    return std::any_of(blocks.places.begin(), blocks.places.end(),
                       [&](uint64_t place) { return isNotFinite(bytes + i * step + place); });
  };
  uint64_t first = 0;
  while (!isUnsound(first)) ++first;
  return first;
}

/// The first of blocks [from, to) with a non-finite scale; `blocks.count` if there is none.
uint64_t firstBetween(const InputFile& file, const BlocksInFile& blocks, uint64_t from, uint64_t to) {
  const uint64_t most = std::max<uint64_t>(1, kPiece / blocks.bytesOfOne);
  const std::unique_ptr<std::byte[]> piece(new std::byte[most * blocks.bytesOfOne]);
  for (uint64_t at = from; at < to; at += most) {
    const uint64_t count = std::min(most, to - at);
    file.read(blocks.offset + at * blocks.bytesOfOne, piece.get(), count * blocks.bytesOfOne);
    const uint64_t first = firstIn(piece.get(), count, blocks);
    if (first < count) return at + first;
  }
  return blocks.count;
}

}  // namespace

uint64_t firstNotFinite(const InputFile& file, const BlocksInFile& blocks, int threads) {
  const uint64_t count = blocks.count, size = count * blocks.bytesOfOne;
  const uint64_t parts = std::clamp<uint64_t>(size / kLeast, 1, static_cast<uint64_t>(std::max(threads, 1)));
  std::vector<std::future<uint64_t>> others;
  for (uint64_t part = 1; part < parts; ++part)
    others.push_back(
        std::async(std::launch::async, [&file, &blocks, from = count * part / parts, to = count * (part + 1) / parts] {
          return firstBetween(file, blocks, from, to);
        }));
  uint64_t first = firstBetween(file, blocks, 0, count / parts);
  for (std::future<uint64_t>& other : others) first = std::min(first, other.get());
  return first;
}

}  // namespace mora::quantise
