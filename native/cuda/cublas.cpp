#include "cuda/cublas.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <type_traits>
#include <vector>

#if __has_include(<cublas_v2.h>)
#include <cublas_v2.h>
#endif

namespace mora::cuda {
namespace {

#if __has_include(<cublas_v2.h>)

// Enumerations count as 32-bit integers and pointers as addresses: what is left of a type when it is called.
template <typename T>
using Plain = std::conditional_t<std::is_pointer_v<T>, void*, std::conditional_t<std::is_enum_v<T>, int32_t, T>>;
template <typename Ours, typename Theirs>
struct Agree;
template <typename R, typename... Args, typename S, typename... Others>
struct Agree<R (*)(Args...), S (*)(Others...)> {
  static constexpr bool value = std::is_same_v<Plain<R>(Plain<Args>...), Plain<S>(Plain<Others>...)>;
};
// The unary plus makes a pointer of a function's name and of a cast that chooses one of several alike.
#define MORA_AGREES(member, function) \
  static_assert(Agree<decltype(CublasTable::member), decltype(+(function))>::value, #function)
MORA_AGREES(create, cublasCreate_v2);
MORA_AGREES(destroy, cublasDestroy_v2);
MORA_AGREES(getVersion, cublasGetVersion_v2);
MORA_AGREES(setStream, cublasSetStream_v2);
MORA_AGREES(setWorkspace, cublasSetWorkspace_v2);
MORA_AGREES(setMathMode, cublasSetMathMode);
MORA_AGREES(setAtomicsMode, cublasSetAtomicsMode);
MORA_AGREES(getStatusString, cublasGetStatusString);
MORA_AGREES(gemmStridedBatchedEx,
            static_cast<decltype(CUBLAS_STATUS_SUCCESS) (*)(
                cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void*, const void*,
                cudaDataType, int, long long, const void*, cudaDataType, int, long long, const void*, void*,
                cudaDataType, int, long long, int, cublasComputeType_t, cublasGemmAlgo_t)>(cublasGemmStridedBatchedEx));
MORA_AGREES(gemmEx, static_cast<decltype(CUBLAS_STATUS_SUCCESS) (*)(
                        cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void*, const void*,
                        cudaDataType, int, const void*, cudaDataType, int, const void*, void*, cudaDataType, int,
                        cublasComputeType_t, cublasGemmAlgo_t)>(cublasGemmEx));
#undef MORA_AGREES
static_assert(CUBLAS_STATUS_SUCCESS == 0 && CUBLAS_OP_N == static_cast<int>(CublasOperation::none) &&
              CUBLAS_OP_T == static_cast<int>(CublasOperation::transpose));
static_assert(CUDA_R_32F == static_cast<int>(CublasType::f32) && CUDA_R_16F == static_cast<int>(CublasType::f16) &&
              CUDA_R_16BF == static_cast<int>(CublasType::bf16));
static_assert(CUBLAS_COMPUTE_32F == static_cast<int>(CublasCompute::f32) &&
              CUBLAS_COMPUTE_32F_FAST_TF32 == static_cast<int>(CublasCompute::f32FastTf32) &&
              CUBLAS_GEMM_DEFAULT == static_cast<int>(CublasAlgorithm::standard));
static_assert(CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION == static_cast<int>(CublasMath::fullPrecisionSums) &&
              CUBLAS_ATOMICS_NOT_ALLOWED == static_cast<int>(CublasAtomics::notAllowed));

#endif

namespace fs = std::filesystem;

/// Newest first: 13 runs on every driver that this backend runs on, 12 serves where only it is installed.
constexpr const char* kVersions[] = {"13", "12"};

/// Folders directly under `parent` whose names start with `prefix`, newest name first.
std::vector<fs::path> children(const fs::path& parent, const std::string& prefix) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(parent, ignored))
    if (entry.path().filename().string().starts_with(prefix)) found.push_back(entry.path());
  std::sort(found.rbegin(), found.rend());
  return found;
}

std::vector<fs::path> toolkitFolders() {
  std::vector<fs::path> roots;
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"})
    if (const char* value = std::getenv(name)) roots.emplace_back(value);
  roots.emplace_back("/usr/local/cuda");
  for (fs::path& path : children("/usr/local", "cuda-")) roots.push_back(std::move(path));
  roots.emplace_back("/opt/cuda");
  std::vector<fs::path> folders;
  for (const fs::path& root : roots)
    for (const char* inside : {"lib64", "lib"}) folders.push_back(root / inside);
  folders.emplace_back("/usr/lib/x86_64-linux-gnu");
  folders.emplace_back("/usr/lib/aarch64-linux-gnu");
  return folders;
}

/// Where pip puts NVIDIA's wheels, of environments that are active and of the system's Python.
std::vector<fs::path> wheelFolders() {
  std::vector<fs::path> libraries;
  for (const char* name : {"VIRTUAL_ENV", "CONDA_PREFIX"})
    if (const char* value = std::getenv(name)) libraries.push_back(fs::path(value) / "lib");
  if (const char* home = std::getenv("HOME")) libraries.push_back(fs::path(home) / ".local" / "lib");
  libraries.emplace_back("/usr/local/lib");
  libraries.emplace_back("/usr/lib");
  std::vector<fs::path> folders;
  for (const fs::path& library : libraries)
    for (const fs::path& python : children(library, "python3"))
      for (const char* packages : {"site-packages", "dist-packages"})
        for (const char* inside : {"nvidia/cu13/lib", "nvidia/cublas/lib"})
          folders.push_back(python / packages / inside);
  return folders;
}

/// Opens libcublas.so.`version` of a folder (of the loader's path for an empty one). Its own libcublasLt is opened
/// first, so that the loader doesn't look for another one. Null, with the loader's words in `why`, when that fails.
void* openIn(const fs::path& folder, const std::string& version, std::string& why) {
  const fs::path light = folder / ("libcublasLt.so." + version), whole = folder / ("libcublas.so." + version);
  std::error_code ignored;
  if (!folder.empty() && !fs::exists(whole, ignored)) return nullptr;
  dlopen(light.c_str(), RTLD_NOW | RTLD_LOCAL);
  void* const library = dlopen(whole.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library && !folder.empty()) why += std::string(why.empty() ? "" : "; ") + dlerror();
  return library;
}

/// MORA_CUBLAS names a library or its folder, and allows no other.
std::vector<fs::path> searchedFolders() {
  if (const char* given = std::getenv("MORA_CUBLAS")) {
    std::error_code ignored;
    const fs::path path(given);
    return {fs::is_directory(path, ignored) ? path : path.parent_path()};
  }
  std::vector<fs::path> folders{fs::path()};
  for (fs::path& folder : toolkitFolders()) folders.push_back(std::move(folder));
  for (fs::path& folder : wheelFolders()) folders.push_back(std::move(folder));
  return folders;
}

std::string listOf(const std::vector<fs::path>& folders) {
  std::string list;
  for (const fs::path& folder : folders)
    list += (list.empty() ? "" : ", ") + (folder.empty() ? std::string("the loader's path") : folder.string());
  return list;
}

template <typename Function>
bool resolve(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

bool fill(CublasTable& table, void* library) {
  return resolve(library, "cublasCreate_v2", table.create) && resolve(library, "cublasDestroy_v2", table.destroy) &&
         resolve(library, "cublasGetVersion_v2", table.getVersion) &&
         resolve(library, "cublasSetStream_v2", table.setStream) &&
         resolve(library, "cublasSetWorkspace_v2", table.setWorkspace) &&
         resolve(library, "cublasSetMathMode", table.setMathMode) &&
         resolve(library, "cublasSetAtomicsMode", table.setAtomicsMode) &&
         resolve(library, "cublasGetStatusString", table.getStatusString) &&
         resolve(library, "cublasGemmEx", table.gemmEx) &&
         resolve(library, "cublasGemmStridedBatchedEx", table.gemmStridedBatchedEx);
}

bool open(CublasTable& table, std::string& why) {
  const std::vector<fs::path> folders = searchedFolders();
  std::string failures;
  for (const char* version : kVersions)
    for (const fs::path& folder : folders) {
      void* const library = openIn(folder, version, failures);
      if (library && fill(table, library)) return true;
    }
  why = "cuBLAS (libcublas.so.13 or libcublas.so.12, with libcublasLt beside it) was not found in " + listOf(folders) +
        (failures.empty() ? "" : " (" + failures + ")") +
        "; install it, with the CUDA toolkit or with \"pip install nvidia-cublas\", or name its folder in MORA_CUBLAS";
  return false;
}

}  // namespace

const CublasTable* openCublas(std::string& why) {
  static CublasTable table;
  static std::string failure;
  static const bool opened = open(table, failure);
  why = failure;
  return opened ? &table : nullptr;
}

}  // namespace mora::cuda
