// Folders that may contain a library of NVIDIA's.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace mora {

/// Folders to search, in order; an empty path means the loader's own search. If the environment variable `variable` is
/// set, it names a library or its folder, and only that is searched. `inWheels` are folders in Python's packages, such
/// as "nvidia/cublas/lib".
std::vector<std::filesystem::path> nvidiaFolders(const char* variable, const std::vector<std::string>& inWheels);
/// The folders as text for messages.
std::string listOf(const std::vector<std::filesystem::path>& folders);

}  // namespace mora
