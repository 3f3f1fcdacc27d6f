// The folder of the addon and of the libraries that it opens.
#pragma once
#include <filesystem>

namespace mora {

/// Empty if the system does not know it.
std::filesystem::path folderOfThisLibrary();

}  // namespace mora
