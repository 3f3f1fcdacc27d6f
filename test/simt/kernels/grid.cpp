#include "simt/kernels/grid.h"

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <numeric>
#include <thread>

#include "simt/kernels/sanitizer.h"
#include "simt/runtime/faults.h"
#include "simt/runtime/settings.h"

namespace simt {

namespace {

/// Smaller launches do not justify waking other threads.
constexpr uint64_t kWorthHelp = 2048;

/// The blocks of a grid in an order given by the seed: number i is (step * i + start) mod count.
class Blocks {
 public:
  explicit Blocks(Grid& grid)
      : grid_(grid), count_(uint64_t{grid.blocks.x} * grid.blocks.y * grid.blocks.z), start_(grid.seed % count_) {
    step_ = grid.seed ? grid.seed / 7 % count_ : 1;
    while (std::gcd(step_, count_) != 1) ++step_;
  }

  void runFrom(Block& block) {
    for (uint64_t i; (i = next_++) < count_;) {
      const uint64_t number = (step_ * i + start_) % count_, rest = number / grid_.blocks.x;
      block.run(grid_, {static_cast<unsigned>(number % grid_.blocks.x), static_cast<unsigned>(rest % grid_.blocks.y),
                        static_cast<unsigned>(rest / grid_.blocks.y)});
    }
  }

 private:
  Grid& grid_;
  uint64_t count_, start_, step_;
  std::atomic<uint64_t> next_ = 0;
};

/// OS threads that run blocks of the caller's grid.
class Helpers {
 public:
  explicit Helpers(unsigned count) {
    for (unsigned i = 0; i < count; ++i) std::thread([this] { serve(); }).detach();
    count_ = count;
  }

  void run(Blocks& blocks, Block& own) {
    {
      const std::lock_guard lock(mutex_);
      blocks_ = &blocks;
      busy_ = count_;
      ++round_;
    }
    wake_.notify_all();
    blocks.runFrom(own);
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return busy_ == 0; });
  }

 private:
  void serve() {
    watchThisThread();
    Block block;
    uint64_t seen = 0;
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return round_ != seen; });
      seen = round_;
      Blocks* blocks = blocks_;
      lock.unlock();
      blocks->runFrom(block);
      lock.lock();
      if (--busy_ == 0) done_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  Blocks* blocks_ = nullptr;
  uint64_t round_ = 0;
  unsigned count_ = 0, busy_ = 0;
};

}  // namespace

void runGrid(Grid& grid) {
  // Never destroyed: the process may end while the helpers wait.
  static Helpers& helpers = *new Helpers(settings().threads - 1);
  // Thread-local storage must stay small: a library that is opened late gets little of it.
  static thread_local const std::unique_ptr<Block> kept = std::make_unique<Block>();
  Block& own = *kept;
  Blocks blocks(grid);
  release(&grid.startTag);
  const uint64_t threads =
      uint64_t{grid.blocks.x} * grid.blocks.y * grid.blocks.z * grid.threads.x * grid.threads.y * grid.threads.z;
  const bool severalBlocks = uint64_t{grid.blocks.x} * grid.blocks.y * grid.blocks.z > 1;
  if (settings().threads > 1 && severalBlocks && threads >= kWorthHelp)
    helpers.run(blocks, own);
  else
    blocks.runFrom(own);
  acquire(&grid.endTag);
}

}  // namespace simt
