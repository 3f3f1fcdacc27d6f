#include "simt/runtime/faults.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "simt/kernels/block.h"
#include "simt/runtime/device_memory.h"

namespace simt {

namespace {

constexpr size_t kHandlerStack = 64 << 10;

struct sigaction before;

void onFault(int signal, siginfo_t* info, void* context) {
  const DeviceMemory& memory = DeviceMemory::instance();
  if (memory.reserved(info->si_addr)) {
    const Block* block = Block::current();
    const std::string who = block ? block->whoRuns() : memory.open() ? "a copy" : "host code";
    std::fprintf(stderr, "simt: %s touched device memory at %p, which %s\n", who.c_str(), info->si_addr,
                 memory.describe(info->si_addr).c_str());
    std::_Exit(134);
  }
  if (const Block* block = Block::current())
    std::fprintf(stderr, "simt: %s touched %p, which is no device memory\n", block->whoRuns().c_str(), info->si_addr);
  if (before.sa_flags & SA_SIGINFO && before.sa_sigaction) return before.sa_sigaction(signal, info, context);
  if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) return before.sa_handler(signal);
  // Returns to the instruction, which now ends the process.
  sigaction(signal, &before, nullptr);
}

}  // namespace

void watchThisThread() {
  void* stack = mmap(nullptr, kHandlerStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  stack_t alternative{};
  alternative.ss_sp = stack;
  alternative.ss_size = kHandlerStack;
  sigaltstack(&alternative, nullptr);
}

void watchFaults() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_sigaction = &onFault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(SIGSEGV, &action, &before);
  });
}

}  // namespace simt
