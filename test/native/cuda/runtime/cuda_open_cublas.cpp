// The error if cuBLAS cannot be opened: the files that were tried, the folders, the loader's message, and the remedy.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "check.h"
#include "child.h"
#include "cuda/products/cublas.h"

namespace fs = std::filesystem;
using mora::test::inChild;

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

void aFolderThatIsNamedIsTheOnlyOne() {
  const fs::path folder = fs::temp_directory_path() / ("mora-cublas-" + std::to_string(getpid()));
  fs::create_directory(folder);
  std::ofstream(folder / "libcublas.so.12") << "not a library";
  inChild([&] {
    setenv("MORA_CUBLAS", folder.c_str(), 1);
    mora::Absence absence;
    CHECK(mora::cuda::openCublas(13000, absence) == nullptr);
    CHECK(contains(absence.problem, "cuBLAS (libcublas.so.13 or libcublas.so.12"));
    CHECK(contains(absence.problem, "was not found in " + folder.string() + " ("));
    CHECK(contains(absence.problem, (folder / "libcublas.so.12").string() + ": "));
    CHECK(absence.remedy.starts_with("install it"));
  });
  fs::remove_all(folder);
}

void elseItIsLookedForWhereItIsInstalled() {
  inChild([] {
    unsetenv("MORA_CUBLAS");
    setenv("CUDA_HOME", "/somewhere/cuda", 1);
    setenv("HOME", "/nobody", 1);
    mora::Absence absence;
    if (mora::cuda::openCublas(13000, absence)) return;  // this machine has it
    for (const char* place :
         {"the loader's path, ", "/somewhere/cuda/lib64, ", "/usr/local/cuda/lib64, ", "MORA_CUBLAS"})
      CHECK(contains(absence.text(), place));
  });
}

}  // namespace

int main() {
  aFolderThatIsNamedIsTheOnlyOne();
  elseItIsLookedForWhereItIsInstalled();
  return mora::test::finish();
}
