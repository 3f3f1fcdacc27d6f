// The sizes that kernels are timed at: a small and a large model, and for the emulator a tiny one. Edit them as needed.
#pragma once
#include <cstdint>
#include <span>

namespace mora::bench {

/// Letters as in core/backend.h; F features; `side` R of rotation with rank 8 between layers of D.
struct Shape {
  const char* model;
  int64_t T, D, F, H, K, E, V, side;
};

inline constexpr Shape kShapes[] = {
    {"SmolLM2-135M", 2048, 576, 1536, 9, 3, 64, 49152, 96},
    {"Llama-2-7B", 4096, 4096, 11008, 32, 32, 128, 32000, 256},
    {"Llama-3-8B", 4096, 4096, 14336, 32, 8, 128, 128256, 256},
};
inline constexpr Shape kTinyShapes[] = {{"tiny", 12, 64, 96, 4, 2, 16, 50, 24}};

}  // namespace mora::bench
