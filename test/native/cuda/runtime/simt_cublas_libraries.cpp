// Which cuBLAS is chosen on a machine with several: the newest one that the driver supports, or the next one if that
// fails, in all the usual places. STUBS is the folder of test/simt/stubs/cublas.cpp's libraries: 12 and 13, and `old`,
// which lacks a function.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "check.h"
#include "child.h"
#include "cuda/products/cublas.h"

namespace fs = std::filesystem;
using mora::cuda::Cublas;
using mora::test::inChild;

namespace {

/// The versions of a folder's libraries, in the order in which they are tried.
std::vector<std::string> tried(const char* folder, int driver) {
  setenv("MORA_CUBLAS", folder, 1);
  std::vector<std::string> versions;
  mora::Absence absence;
  for (const Cublas* library = mora::cuda::openCublas(driver, absence); library;
       library = mora::cuda::openNextCublas()) {
    CHECK(mora::cuda::openCublas(driver, absence) == library);  // the one in use
    CHECK(fs::path(library->path).parent_path() == fs::path(folder));
    versions.push_back(library->version());
  }
  return versions;
}

void theDriverSaysWhichComesFirst() {
  using Versions = std::vector<std::string>;
  inChild([] { CHECK(tried(STUBS, 13000) == Versions({"13.7", "12.7"})); });
  inChild([] { CHECK(tried(STUBS, 12040) == Versions({"12.7", "13.7"})); });
}

void aLibraryThatLacksAFunctionIsPassedOver() {
  inChild([] {
    setenv("MORA_CUBLAS", STUBS "/old", 1);
    mora::Absence absence;
    CHECK(mora::cuda::openCublas(12040, absence) == nullptr);
    CHECK(absence.problem.find("old/libcublas.so.12 lacks cublasGemmStridedBatchedEx") != std::string::npos);
  });
}

bool among(const std::vector<fs::path>& folders, const fs::path& folder) {
  return std::find(folders.begin(), folders.end(), folder) != folders.end();
}

void environmentsThatAreOnPathAreFound() {
  const fs::path root = fs::temp_directory_path() / ("mora-python-" + std::to_string(getpid()));
  const fs::path base = root / "base", venv = root / "venv", packages = "lib/python3.12/site-packages";
  for (const fs::path& environment : {base, venv}) {
    fs::create_directories(environment / "bin");
    fs::create_directories(environment / packages);
  }
  std::ofstream(base / "bin/python3.12") << "";
  fs::create_symlink("python3.12", base / "bin/python3");
  fs::create_symlink(base / "bin/python3", venv / "bin/python3");
  inChild([&] {
    for (const char* name : {"MORA_CUBLAS", "VIRTUAL_ENV", "CONDA_PREFIX"}) unsetenv(name);
    setenv("HOME", "/nobody", 1);
    setenv("PATH", ("/nowhere:" + (venv / "bin").string()).c_str(), 1);
    const std::vector<fs::path> folders = mora::cuda::cublasFolders();
    for (const fs::path& environment : {venv, base})
      for (const char* inside : {"nvidia/cu13/lib", "nvidia/cublas/lib"})
        CHECK(among(folders, environment / packages / inside));
  });
  fs::remove_all(root);
}

void targetsOfAToolkitAreFound() {
  const fs::path toolkit = fs::temp_directory_path() / ("mora-toolkit-" + std::to_string(getpid()));
  fs::create_directories(toolkit / "targets/sbsa-linux/lib");
  inChild([&] {
    unsetenv("MORA_CUBLAS");
    setenv("CUDA_HOME", toolkit.c_str(), 1);
    const std::vector<fs::path> folders = mora::cuda::cublasFolders();
    for (const char* inside : {"lib64", "lib", "targets/sbsa-linux/lib"}) CHECK(among(folders, toolkit / inside));
  });
  fs::remove_all(toolkit);
}

}  // namespace

int main() {
  theDriverSaysWhichComesFirst();
  aLibraryThatLacksAFunctionIsPassedOver();
  environmentsThatAreOnPathAreFound();
  targetsOfAToolkitAreFound();
  return mora::test::finish();
}
