// What is said where cuBLAS cannot be opened: which files were looked for, where, what the loader said, and the way
// out.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "check.h"
#include "cuda/cublas.h"

namespace fs = std::filesystem;

namespace {

/// In a process of its own, because the library is looked for once per process.
template <typename Body>
void inChild(Body&& body) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(mora::test::finish());
  }
  int status = 1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

void aFolderThatIsNamedIsTheOnlyOne() {
  const fs::path folder = fs::temp_directory_path() / ("mora-cublas-" + std::to_string(getpid()));
  fs::create_directory(folder);
  std::ofstream(folder / "libcublas.so.12") << "not a library";
  inChild([&] {
    setenv("MORA_CUBLAS", folder.c_str(), 1);
    std::string why;
    CHECK(mora::cuda::openCublas(13000, why) == nullptr);
    CHECK(contains(why, "cuBLAS (libcublas.so.13 or libcublas.so.12"));
    CHECK(contains(why, "was not found in " + folder.string() + " ("));
    CHECK(contains(why, (folder / "libcublas.so.12").string() + ": "));
    CHECK(contains(why, "; install it"));
  });
  fs::remove_all(folder);
}

void elseItIsLookedForWhereItIsInstalled() {
  inChild([] {
    unsetenv("MORA_CUBLAS");
    setenv("CUDA_HOME", "/somewhere/cuda", 1);
    setenv("HOME", "/nobody", 1);
    std::string why;
    if (mora::cuda::openCublas(13000, why)) return;  // a machine that has it
    for (const char* place :
         {"the loader's path, ", "/somewhere/cuda/lib64, ", "/usr/local/cuda/lib64, ", "MORA_CUBLAS"})
      CHECK(contains(why, place));
  });
}

}  // namespace

int main() {
  aFolderThatIsNamedIsTheOnlyOne();
  elseItIsLookedForWhereItIsInstalled();
  return mora::test::finish();
}
