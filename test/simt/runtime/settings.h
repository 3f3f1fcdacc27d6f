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
//   MORA_SIMT_INTEGRATED       1: devices share the host's memory
//   MORA_SIMT_CODE             0: the library holds no code for these devices
//   MORA_SIMT_COMPUTE          0: kernels and products are checked and traced, not run; memory is not filled, so that
//                              large models cost nothing
//   MORA_SIMT_FAULT            700@12: the device answers its 12th call, and every later one, with error 700
//   MORA_SIMT_ALLOCATION_FAULT 5: the 5th allocation of device memory finds none
//   MORA_SIMT_CUBLAS_FAULT     13@4: cuBLAS answers its 4th call, and every later one, with status 13
//   MORA_SIMT_TRACE            file that gets one JSON line per launch, copy and product
#pragma once
#include <cstdint>
#include <string>

namespace simt {

/// An answer from call number `from` on, counted from 1; 0 means never.
struct Fault {
  int answer;
  uint64_t from;
};

struct Settings {
  uint64_t seed;
  unsigned threads;
  int devices;
  int driver;
  int capability;
  uint64_t memory;
  int multiprocessors;
  bool protect;
  bool integrated;
  bool code;
  bool compute;
  Fault deviceFault;
  uint64_t allocationFault;
  Fault cublasFault;
  std::string trace;
};

const Settings& settings();

}  // namespace simt
