// Checks the scales of blocks in a file.
#pragma once
#include <cstdint>
#include <vector>

#include "core/process/input_file.h"

namespace mora::quantise {

/// The place of blocks in a file, and of each block's float16 scales in bytes from its start.
struct BlocksInFile {
  uint64_t offset, count, bytesOfOne;
  std::vector<uint64_t> places;
};

/// The first block with an infinite or NaN scale; `count` if there is none. Throws Error if the file cannot be read.
uint64_t firstNotFinite(const InputFile& file, const BlocksInFile& blocks, int threads);

}  // namespace mora::quantise
