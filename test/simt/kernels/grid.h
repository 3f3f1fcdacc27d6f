// Runs all blocks of a launch, several at a time on a few OS threads.
#pragma once
#include "simt/kernels/block.h"

namespace simt {

/// Returns when every thread has returned.
void runGrid(Grid& grid);

}  // namespace simt
