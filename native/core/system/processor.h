// The processor, as the system sees it.
#pragma once
#include <string>

namespace mora {

/// Its name; "CPU" if the system does not tell it.
std::string processorName();

/// Whether the system lets this process use the tiles of x86 processors that have matrix units (AMX).
bool mayUseTiles();

}  // namespace mora
