// What the environment sets, read once.
//
//   MORA_SIMT_SEED             order of lanes, warps, blocks and streams; 0: everything in order; 1 unless set
//   MORA_SIMT_THREADS          OS threads that run blocks; the processor's, at most 4, unless set
//   MORA_SIMT_DEVICES          1 unless set; 0 is a machine without a GPU
//   MORA_SIMT_DRIVER           CUDA version that the driver serves, as 13000; 0: there is no driver; the runtime's unless set
//   MORA_SIMT_CAPABILITY       of every device, as 75 for 7.5; 90 unless set
//   MORA_SIMT_MEMORY           bytes of memory per device; 4 GiB unless set
//   MORA_SIMT_MULTIPROCESSORS  4 unless set: grids sized by it are small
//   MORA_SIMT_PROTECT          0: host code may touch device memory
//   MORA_SIMT_COMPUTE          0: kernels and products are checked and traced, not run; memory is not filled, so that
//   of
//                              large models costs nothing
//   MORA_SIMT_TRACE            file that gets one JSON line per launch, copy and product
#pragma once
#include <cstdint>
#include <string>

namespace simt {

struct Settings {
  uint64_t seed;
  unsigned threads;
  int devices;
  int driver;
  int capability;
  uint64_t memory;
  int multiprocessors;
  bool protect;
  bool compute;
  std::string trace;
};

const Settings& settings();

}  // namespace simt
