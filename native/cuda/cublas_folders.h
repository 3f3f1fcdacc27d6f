// Where cuBLAS may lie on a machine.
#pragma once
#include <filesystem>
#include <vector>

namespace mora::cuda {

/// Folders to look in, in order; an empty path is the loader's own. MORA_CUBLAS names a library or its folder, and
/// allows no other.
std::vector<std::filesystem::path> cublasFolders();

}  // namespace mora::cuda
