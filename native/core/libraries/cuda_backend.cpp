// Opens the CUDA backend, a shared library in the folder of this code's library.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <string>
#include <utility>

#include "core/backend.h"
#include "core/gpu.h"
#include "core/libraries/cuda_library.h"
#include "core/system/libraries.h"

namespace mora {
namespace {

struct Opened {
  const Backend* backend = nullptr;
  Absence absence = {};
  const CudaExtras* extras = nullptr;
};

/// The arguments of setCudaLibrary.
struct Elsewhere {
  std::mutex mutex;
  std::string path;
  Absence absence;
};

Elsewhere& elsewhere() {
  static Elsewhere instance;
  return instance;
}

/// MORA_CUDA=emulated selects the backend that runs on the CPU, for tests.
bool emulated() {
  const char* const wanted = std::getenv("MORA_CUDA");
  return wanted && std::string(wanted) == "emulated";
}

/// MORA_CUDA_ABSENT, from CMakeLists.txt, says why this build has no backend; empty if it has one.
Absence notBuilt(const std::filesystem::path& library) {
  const std::string build = "run \"npm run build native\"";
  if (emulated())
    return {library.string() + " was not built", "\"npm run build emulated\" builds it, or unset MORA_CUDA"};
  const std::string cause = MORA_CUDA_ABSENT,
                    missing = "the CUDA backend was not built (" + library.string() + " is not there): ";
  if (cause == "off")
    return {missing + "no GPU was here when node-mora was built, or MORA_BUILD_CUDA was OFF",
            "run \"MORA_BUILD_CUDA=AUTO npm run build native\" where the CUDA toolkit 12 or newer is"};
  if (cause == "sanitizer") return {missing + "builds with a sanitizer have none", build + " and unset MORA_BUILD_FOLDER"};
  if (cause == "no nvcc")
    return {missing + "nvcc was not found when node-mora was built",
            "install the CUDA toolkit 12 or newer, then " + build};
  return {library.string() + ", the CUDA backend, is not there although it was built with the addon", build};
}

Opened openBackend(const std::filesystem::path& library) {
  std::string why;
  void* const handle = openLibrary(library, why);
  if (!handle) return {nullptr, {"the CUDA backend could not be loaded: " + why, ""}};
  const auto entry = reinterpret_cast<CudaBackendEntry*>(addressIn(handle, "moraCudaBackend"));
  if (!entry) return {nullptr, {library.string() + " is not a backend of node-mora", ""}};
  char problem[4096] = "", remedy[4096] = "";
  const Backend* const backend = entry(problem, sizeof problem, remedy, sizeof remedy);
  if (!backend) return {nullptr, {problem, remedy}};
  const auto other = [&](uint32_t its, uint32_t ours) {
    return Opened{nullptr,
                  {library.string() + " was built for version " + std::to_string(its) +
                       " of the backends' table and this is version " + std::to_string(ours),
                   "run \"npm run build native\""}};
  };
  if (backend->abi != kBackendAbi) return other(backend->abi, kBackendAbi);
  const auto extrasEntry = reinterpret_cast<CudaExtrasEntry*>(addressIn(handle, "moraCudaExtras"));
  const CudaExtras* const extras = extrasEntry ? extrasEntry() : nullptr;
  if (!extras || extras->abi != kCudaExtrasAbi) return other(extras ? extras->abi : 0, kCudaExtrasAbi);
  return {backend, {}, extras};
}

Opened open() {
  std::filesystem::path library = folderOfThisLibrary() / (emulated() ? "mora_cuda_emulated" : "mora_cuda");
  library += kLibrarySuffix;
  std::error_code ignored;
  if (!std::filesystem::exists(library, ignored)) {
    const std::lock_guard lock(elsewhere().mutex);
    if (!emulated() && elsewhere().absence) return {nullptr, elsewhere().absence};
    if (emulated() || elsewhere().path.empty()) return {nullptr, notBuilt(library)};
    library = elsewhere().path;
  }
  const Opened newest = openBackend(library);
  // Packages contain builds for CUDA 12 and 13: the driver decides which one works.
  const std::filesystem::path older = library.parent_path() / (std::string("mora_cuda_12") + kLibrarySuffix);
  if (newest.backend || emulated() || !std::filesystem::exists(older, ignored)) return newest;
  return openBackend(older);
}

}  // namespace

void setCudaLibrary(std::string path, Absence absence) {
  const std::lock_guard lock(elsewhere().mutex);
  elsewhere().path = std::move(path);
  elsewhere().absence = std::move(absence);
}

namespace {

const Opened& opened() {
  static const Opened instance = open();
  return instance;
}

}  // namespace

const Backend* cudaBackend(Absence& absence) {
  absence = opened().absence;
  return opened().backend;
}

const CudaExtras* cudaExtras() { return opened().extras; }

}  // namespace mora
