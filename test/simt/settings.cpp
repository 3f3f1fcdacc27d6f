#include "simt/settings.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "simt/sanitizer.h"

namespace simt {

namespace {

uint64_t number(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text && *text ? std::strtoull(text, nullptr, 0) : otherwise;
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
