// Where the CUDA backend lies when it is not beside the addon.
#pragma once
#include <string>

#include "core/error.h"

namespace mora {

/// For whoever asks for the CUDA backend from here on: the library to open where none lies beside the addon, or, if
/// `path` is empty, why there is none. The first answer to such a question stands for the whole process.
void setCudaLibrary(std::string path, Absence absence);

}  // namespace mora
