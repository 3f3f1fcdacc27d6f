// Where a library of NVIDIA's may lie on a machine.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace mora {

/// Folders to look in, in order; an empty path is the loader's own. A variable of that name, where it is set, names a
/// library or its folder, and allows no other. `inWheels` are folders of Python's packages, as "nvidia/cublas/lib".
std::vector<std::filesystem::path> nvidiaFolders(const char* variable, const std::vector<std::string>& inWheels);
/// The same for messages.
std::string listOf(const std::vector<std::filesystem::path>& folders);

}  // namespace mora
