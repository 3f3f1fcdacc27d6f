#include "cuda/products/cublas.h"

#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "core/libraries/nvidia_folders.h"
#include "core/system/libraries.h"

namespace mora::cuda {
namespace {

namespace fs = std::filesystem;

/// Opens libcublas.so.`version` in a folder (on the loader's path if it is empty). Opens its libcublasLt first, so that
/// the loader doesn't look for another one. Returns null on failure, with the loader's message in `why`.
void* openIn(const fs::path& folder, const std::string& version, std::string& why) {
  const fs::path light = folder / ("libcublasLt.so." + version), whole = folder / ("libcublas.so." + version);
  std::error_code ignored;
  if (!folder.empty() && !fs::exists(whole, ignored)) return nullptr;
  std::string reason;
  openLibrary(light, reason);
  void* const library = openLibrary(whole, reason);
  if (!library && !folder.empty()) why += std::string(why.empty() ? "" : "; ") + reason;
  return library;
}

/// Returns the names of the functions that the library lacks; empty if it has all.
std::string fill(CublasTable& table, void* library) {
  std::string absent;
  resolveFunction(library, "cublasCreate_v2", table.create, absent);
  resolveFunction(library, "cublasDestroy_v2", table.destroy, absent);
  resolveFunction(library, "cublasGetProperty", table.getProperty, absent);
  resolveFunction(library, "cublasSetStream_v2", table.setStream, absent);
  resolveFunction(library, "cublasSetWorkspace_v2", table.setWorkspace, absent);
  resolveFunction(library, "cublasSetMathMode", table.setMathMode, absent);
  resolveFunction(library, "cublasSetAtomicsMode", table.setAtomicsMode, absent);
  resolveFunction(library, "cublasGetStatusString", table.getStatusString, absent);
  resolveFunction(library, "cublasGemmEx", table.gemmEx, absent);
  resolveFunction(library, "cublasGemmStridedBatchedEx", table.gemmStridedBatchedEx, absent);
  return absent;
}

/// Goes through the possible places of a library, once.
class Search {
 public:
  explicit Search(int driver) : folders_(cublasFolders()) {
    // cuBLAS 13 needs a driver for CUDA 13; with an older one it opens but every call fails.
    std::vector<std::string> versions{"13", "12"};
    if (driver < 13000) std::swap(versions[0], versions[1]);
    for (const std::string& version : versions)
      for (const fs::path& folder : folders_) places_.emplace_back(version, folder);
  }

  const Cublas* next() {
    while (at_ < places_.size()) {
      const auto& [version, folder] = places_[at_++];
      void* const library = openIn(folder, version, failures_);
      if (!library) continue;
      CublasTable table{};
      const std::string absent = fill(table, library);
      if (absent.empty())
        return new Cublas{table, fileOfFunction(reinterpret_cast<void*>(table.create), "libcublas")};  // never closed
      failures_ +=
          (failures_.empty() ? "" : "; ") + (folder / ("libcublas.so." + version)).string() + " lacks " + absent;
    }
    return nullptr;
  }

  Absence absence() const {
    return {"cuBLAS (libcublas.so.13 or libcublas.so.12, with libcublasLt beside it) was not found in " +
                listOf(folders_) + (failures_.empty() ? "" : " (" + failures_ + ")"),
            "install it, with the CUDA toolkit or with \"pip install nvidia-cublas\", or name its folder in "
            "MORA_CUBLAS"};
  }

 private:
  std::vector<fs::path> folders_;
  std::vector<std::pair<std::string, fs::path>> places_;
  size_t at_ = 0;
  std::string failures_;
};

std::mutex mutex;
std::optional<Search> search;
const Cublas* inUse = nullptr;

}  // namespace

std::vector<fs::path> cublasFolders() { return nvidiaFolders("MORA_CUBLAS", {"nvidia/cu13/lib", "nvidia/cublas/lib"}); }

std::string Cublas::version() const {
  int major = 0, minor = 0;
  table.getProperty(CublasProperty::major, &major);
  table.getProperty(CublasProperty::minor, &minor);
  return std::to_string(major) + "." + std::to_string(minor);
}

const Cublas* openCublas(int driver, Absence& absence) {
  const std::lock_guard lock(mutex);
  if (!search) {
    search.emplace(driver);
    inUse = search->next();
  }
  if (!inUse) absence = search->absence();
  return inUse;
}

const Cublas* openNextCublas() {
  const std::lock_guard lock(mutex);
  if (const Cublas* const found = search ? search->next() : nullptr) return inUse = found;
  return nullptr;
}

}  // namespace mora::cuda
