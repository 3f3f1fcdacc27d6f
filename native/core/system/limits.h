// Resources that the system grants this process: the machine's, or fewer if the system binds or limits it.
#pragma once
#include <cstdint>

namespace mora {

/// Number of processors that may run its threads at once, at least 1.
int availableProcessors();

/// Bytes of memory that it may use.
uint64_t availableMemory();

}  // namespace mora
