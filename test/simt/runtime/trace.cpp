#include "simt/runtime/trace.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <utility>

#include "simt/runtime/settings.h"

namespace simt {

namespace {

thread_local uint64_t expectedRead = 0, expectedWritten = 0, expectedFlops = 0;

std::FILE* openTrace() {
  std::FILE* file = std::fopen(settings().trace.c_str(), "a");
  if (!file) {
    std::fprintf(stderr, "simt: MORA_SIMT_TRACE names %s, which cannot be written\n", settings().trace.c_str());
    std::exit(1);
  }
  return file;
}

}  // namespace

bool tracing() { return !settings().trace.empty(); }

void expectCost(uint64_t bytesRead, uint64_t bytesWritten, uint64_t flops) {
  expectedRead = bytesRead;
  expectedWritten = bytesWritten;
  expectedFlops = flops;
}

void trace(const TraceEntry& entry) {
  if (!tracing()) return;
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  static std::FILE* file = openTrace();
  uint64_t read = entry.bytesRead, written = entry.bytesWritten, flops = entry.flops;
  std::fprintf(file, "{\"kind\":\"%s\",\"name\":\"%s\"", entry.kind, entry.name.c_str());
  if (std::strcmp(entry.kind, "kernel") == 0) {
    std::fprintf(file, ",\"grid\":[%u,%u,%u],\"block\":[%u,%u,%u],\"sharedBytes\":%llu", entry.grid.x, entry.grid.y,
                 entry.grid.z, entry.block.x, entry.block.y, entry.block.z,
                 static_cast<unsigned long long>(entry.sharedBytes));
    read += std::exchange(expectedRead, 0);
    written += std::exchange(expectedWritten, 0);
    flops += std::exchange(expectedFlops, 0);
  }
  if (!entry.aligned) std::fprintf(file, ",\"aligned\":false");
  std::fprintf(file, ",\"bytesRead\":%llu,\"bytesWritten\":%llu,\"flops\":%llu}\n",
               static_cast<unsigned long long>(read), static_cast<unsigned long long>(written),
               static_cast<unsigned long long>(flops));
  std::fflush(file);
}

}  // namespace simt
