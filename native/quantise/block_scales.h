// The scales in blocks of a file.
#pragma once
#include <cstdint>
#include <vector>

#include "core/process/input_file.h"

namespace mora::quantise {

/// Where a file has blocks, and each of them its float16 scales: bytes from the block's start.
struct BlocksInFile {
  uint64_t offset, count, bytesOfOne;
  std::vector<uint64_t> places;
};

/// The first block with a scale that is infinite or not a number; `count` where there is none. Throws Error where the
/// file cannot be read.
uint64_t firstNotFinite(const InputFile& file, const BlocksInFile& blocks, int threads);

}  // namespace mora::quantise
