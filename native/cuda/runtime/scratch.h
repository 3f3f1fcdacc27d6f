// The implementation of Context::scratch and Context::upload.
#pragma once
#include <functional>
#include <map>
#include <memory>

#include "cuda/runtime/completions.h"
#include "cuda/runtime/context.h"
#include "cuda/runtime/memory.h"
#include "cuda/runtime/staging.h"

namespace mora::cuda {

struct Context::Memory {
  struct Block {
    void* data = nullptr;
    size_t bytes = 0;
  };

  cuda::Memory& pool;
  Staging& staging;
  Completions& completions;
  std::map<Slot, Block> slots;
  std::map<KeptKey, Block> kept = {};

  /// Frees all of it; nothing may still use it.
  void releaseAll();
  void releaseKept();
};

/// Copies host memory to the device through the staging ring; the host memory is read before this returns.
void copyToDevice(Context& context, void* target, const void* host, size_t bytes);
/// Copies what `read` writes to `to`, in pieces [offset, offset + bytes). Its exceptions end the copy.
void copyToDevice(Context& context, void* target, size_t bytes,
                  const std::function<void(std::byte* to, size_t offset, size_t bytes)>& read);
/// Copies device memory to the host, whose memory `keep` keeps alive; it has arrived when completions that are added
/// later are called.
void copyToHost(Context& context, void* host, const void* source, size_t bytes, const std::shared_ptr<void>& keep = {});

}  // namespace mora::cuda
