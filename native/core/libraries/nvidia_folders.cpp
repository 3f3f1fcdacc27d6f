#include "core/libraries/nvidia_folders.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <string>

namespace mora {
namespace {

namespace fs = std::filesystem;
using Paths = std::vector<fs::path>;

void append(Paths& paths, Paths more) {
  for (fs::path& path : more) paths.push_back(std::move(path));
}

/// Folders directly under `parent` whose names start with `prefix`, newest name first.
Paths children(const fs::path& parent, const std::string& prefix) {
  Paths found;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(parent, ignored))
    if (entry.path().filename().string().starts_with(prefix)) found.push_back(entry.path());
  std::sort(found.rbegin(), found.rend());
  return found;
}

Paths toolkitFolders() {
  Paths roots;
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"})
    if (const char* value = std::getenv(name)) roots.emplace_back(value);
  roots.emplace_back("/usr/local/cuda");
  append(roots, children("/usr/local", "cuda-"));
  roots.emplace_back("/opt/cuda");
  Paths folders;
  for (const fs::path& root : roots) {
    for (const char* inside : {"lib64", "lib"}) folders.push_back(root / inside);
    for (const fs::path& target : children(root / "targets", "")) folders.push_back(target / "lib");
  }
  folders.emplace_back("/usr/lib/x86_64-linux-gnu");
  folders.emplace_back("/usr/lib/aarch64-linux-gnu");
  return folders;
}

/// The `lib` folder of each Python on PATH, both by its name there (a virtual environment's) and with links resolved.
Paths pythonsOnPath() {
  Paths libraries;
  const char* const path = std::getenv("PATH");
  std::istringstream folders(path ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');)
    for (const char* name : {"python3", "python"}) {
      const fs::path python = fs::path(folder) / name;
      std::error_code missing;
      const fs::path real = fs::canonical(python, missing);
      if (folder.empty() || missing) continue;
      libraries.push_back(fs::path(folder).parent_path() / "lib");
      libraries.push_back(real.parent_path().parent_path() / "lib");
    }
  return libraries;
}

/// Folders of NVIDIA's wheels from pip: in environments that are active or first on PATH, the user's, the system's.
Paths wheelFolders(const std::vector<std::string>& inside) {
  Paths libraries;
  for (const char* name : {"VIRTUAL_ENV", "CONDA_PREFIX"})
    if (const char* value = std::getenv(name)) libraries.push_back(fs::path(value) / "lib");
  append(libraries, pythonsOnPath());
  if (const char* home = std::getenv("HOME")) libraries.push_back(fs::path(home) / ".local" / "lib");
  libraries.emplace_back("/usr/local/lib");
  libraries.emplace_back("/usr/lib");
  Paths folders;
  for (const fs::path& library : libraries)
    for (const fs::path& python : children(library, "python3"))
      for (const char* packages : {"site-packages", "dist-packages"})
        for (const std::string& folder : inside) folders.push_back(python / packages / folder);
  return folders;
}

}  // namespace

Paths nvidiaFolders(const char* variable, const std::vector<std::string>& inWheels) {
  std::error_code ignored;
  if (const char* given = std::getenv(variable)) {
    const fs::path path(given);
    return {fs::is_directory(path, ignored) ? path : path.parent_path()};
  }
  Paths folders{fs::path()};
  for (fs::path& folder : toolkitFolders()) folders.push_back(std::move(folder));
  for (fs::path& folder : wheelFolders(inWheels))
    if (std::find(folders.begin(), folders.end(), folder) == folders.end()) folders.push_back(std::move(folder));
  return folders;
}

std::string listOf(const Paths& folders) {
  std::string list;
  for (const fs::path& folder : folders)
    list += (list.empty() ? "" : ", ") + (folder.empty() ? std::string("the loader's path") : folder.string());
  return list;
}

}  // namespace mora
