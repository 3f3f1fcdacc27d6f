// Where the addon lies, and with it the libraries that it opens.
#pragma once
#include <filesystem>

namespace mora {

/// Empty where the system cannot tell.
std::filesystem::path folderOfThisLibrary();

}  // namespace mora
