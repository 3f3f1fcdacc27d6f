#include "cuda/runtime/devices.h"

#include <cuda_runtime.h>

#include <cstdio>
#include <string>
#include <vector>

namespace mora::cuda {
namespace {

/// The first compute capability with bfloat16 products and asynchronous copies.
constexpr int kOldestCapability = 8;

/// From CUDA's number: 13000 is 13.0.
std::string versionText(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string capabilityText(const cudaDeviceProp& properties) {
  return std::to_string(properties.major) + "." + std::to_string(properties.minor);
}

/// In nvidia-smi's format.
std::string uuidText(const char (&bytes)[16]) {
  std::string text = "GPU";
  for (size_t i = 0; i < sizeof bytes; ++i) {
    char digits[4];
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(bytes[i]));
    if (i == 0 || (i >= 4 && i <= 10 && i % 2 == 0)) text += '-';
    text += digits;
  }
  return text;
}

int driverVersion() {
  int version = 0;
  cudaDriverGetVersion(&version);
  return version;
}

#ifdef MORA_CUDA_EMULATED
const Cublas* libraryInUse(Absence&) { return emulatedCublas(); }
const Cublas* nextLibrary() { return nullptr; }
#else
const Cublas* libraryInUse(Absence& absence) { return openCublas(driverVersion(), absence); }
const Cublas* nextLibrary() { return openNextCublas(); }
#endif

struct Devices {
  struct Usable {
    int runtimeIndex;
    cudaDeviceProp properties;
  };
  std::vector<Usable> usable;
  Absence missing;

  Devices() {
    missing = findGpus();
    if (!missing) libraryInUse(missing);
  }

 private:
  Absence findGpus();
};

Absence driverProblem(cudaError_t error) {
  int runtime = 0;
  const int driver = driverVersion();
  cudaRuntimeGetVersion(&runtime);
  cudaGetLastError();
  const std::string wanted = "install NVIDIA's driver for CUDA " + versionText(runtime) + " or newer";
  if (error == cudaErrorNoDevice) return {"no NVIDIA GPU was found, or CUDA_VISIBLE_DEVICES hides it", ""};
  if (error != cudaErrorInsufficientDriver)
    return {std::string("the NVIDIA driver does not answer: ") + cudaGetErrorString(error), "nvidia-smi tells more"};
  if (driver == 0)
    return {"there is no NVIDIA driver, or one that is older than CUDA " + versionText(runtime) + " needs", wanted};
  return {"the NVIDIA driver is too old: it serves CUDA " + versionText(driver) + " and this build needs " +
              versionText(runtime),
          wanted};
}

Absence Devices::findGpus() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0)
    return driverProblem(count == 0 && error == cudaSuccess ? cudaErrorNoDevice : error);
  std::string old;
  for (int device = 0; device < count; ++device) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) continue;
    if (properties.major >= kOldestCapability)
      usable.push_back({device, properties});
    else
      old += (old.empty() ? "" : ", ") + std::string(properties.name) + " has " + capabilityText(properties);
  }
  if (!usable.empty()) return {};
  return {"a GPU of compute capability 8.0 (Ampere, 2020) or newer is needed" + (old.empty() ? "" : ", and " + old),
          ""};
}

const Devices& devices() {
  static const Devices found;
  return found;
}

const Cublas& library() {
  Absence absence;
  return *libraryInUse(absence);
}

}  // namespace

const Absence& whatIsMissing() { return devices().missing; }

const CublasTable& cublas() { return library().table; }

CublasSession startCublas() {
  std::string answers;
  for (const Cublas* tried = &library(); tried; tried = nextLibrary()) {
    CublasHandle handle = nullptr;
    const CublasStatus status = tried->table.create(&handle);
    if (status == 0) return {tried->table, handle};
    answers += (answers.empty() ? "" : "; ") + tried->path + " (cuBLAS " + tried->version() +
               "): " + tried->table.getStatusString(status);
  }
  throw Error("cublas", "cublasCreate failed in " + answers);
}

int32_t deviceCount() { return static_cast<int32_t>(devices().usable.size()); }

int runtimeIndex(int32_t device) { return devices().usable.at(static_cast<size_t>(device)).runtimeIndex; }

Status identify(int32_t device, char* id, size_t capacity) {
  const cudaDeviceProp& properties = devices().usable.at(static_cast<size_t>(device)).properties;
  std::snprintf(id, capacity, "%s", uuidText(properties.uuid.bytes).c_str());
  return Status::ok;
}

Status deviceFacts(int32_t device, DeviceFacts* facts) {
  const cudaDeviceProp& properties = devices().usable.at(static_cast<size_t>(device)).properties;
  int runtime = 0;
  cudaRuntimeGetVersion(&runtime);
  std::snprintf(facts->name, sizeof facts->name, "%s", properties.name);
  facts->totalMemory = properties.totalGlobalMem;
  facts->threads = properties.multiProcessorCount;
  facts->fastBfloat16 = 1;
  facts->int8Products = 0;
  std::snprintf(facts->detail, sizeof facts->detail,
                "compute capability %s, driver for CUDA %s, runtime %s, cuBLAS %s (%s)",
                capabilityText(properties).c_str(), versionText(driverVersion()).c_str(), versionText(runtime).c_str(),
                library().version().c_str(), library().path.c_str());
  return Status::ok;
}

}  // namespace mora::cuda
