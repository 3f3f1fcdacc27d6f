#include "simt/runtime/settings.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "simt/kernels/sanitizer.h"

namespace simt {

namespace {

uint64_t number(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text && *text ? std::strtoull(text, nullptr, 0) : otherwise;
}

/// "answer@call".
Fault fault(const char* name) {
  const char* const text = std::getenv(name);
  const char* const at = text ? std::strchr(text, '@') : nullptr;
  return at ? Fault{std::atoi(text), std::strtoull(at + 1, nullptr, 0)} : Fault{};
}

Settings read() {
  Settings settings;
  settings.seed = number("MORA_SIMT_SEED", 1);
  const unsigned processors = std::clamp(std::thread::hardware_concurrency(), 1u, 4u);
  settings.threads = std::max<unsigned>(1, static_cast<unsigned>(number("MORA_SIMT_THREADS", processors)));
  if (underThreadSanitizer()) settings.threads = 1;  // its fibers stay in one OS thread
  settings.devices = static_cast<int>(number("MORA_SIMT_DEVICES", 1));
  settings.driver = static_cast<int>(number("MORA_SIMT_DRIVER", CUDART_VERSION));
  settings.capability = static_cast<int>(number("MORA_SIMT_CAPABILITY", 90));
  settings.memory = number("MORA_SIMT_MEMORY", uint64_t{4} << 30);
  settings.multiprocessors = static_cast<int>(number("MORA_SIMT_MULTIPROCESSORS", 4));
  settings.protect = number("MORA_SIMT_PROTECT", 1) != 0;
  settings.integrated = number("MORA_SIMT_INTEGRATED", 0) != 0;
  settings.code = number("MORA_SIMT_CODE", 1) != 0;
  settings.deviceFault = fault("MORA_SIMT_FAULT");
  settings.allocationFault = number("MORA_SIMT_ALLOCATION_FAULT", 0);
  settings.cublasFault = fault("MORA_SIMT_CUBLAS_FAULT");
  settings.compute = number("MORA_SIMT_COMPUTE", 1) != 0;
  const char* trace = std::getenv("MORA_SIMT_TRACE");
  settings.trace = trace ? trace : "";
  return settings;
}

}  // namespace

const Settings& settings() {
  static const Settings values = read();
  return values;
}

}  // namespace simt
