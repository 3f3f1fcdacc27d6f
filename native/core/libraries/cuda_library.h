// The place of the CUDA backend if it is not beside the addon.
#pragma once
#include <string>

#include "core/error.h"

namespace mora {

/// Sets the library to open if there is none beside the addon, or, if `path` is empty, the reason for its absence. Has
/// no effect after the CUDA backend was first looked up.
void setCudaLibrary(std::string path, Absence absence);

}  // namespace mora
