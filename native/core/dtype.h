// Element types of tensors: plain numbers, and the block formats of GGUF for frozen weights.
#pragma once
#include <cstdint>

namespace mora {

enum class DType : int32_t {
  f32 = 0,
  bf16 = 1,
  f16 = 2,
  i32 = 3,
  i64 = 4,
  u8 = 5,
  // Block formats: a row of n values is stored as n / block consecutive blocks. Only linear weights, embeddings, merge
  // and dequantise accept them.
  q4_0 = 16,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  iq4_nl,
  iq4_xs,
  mxfp4,
  tq1_0,
  tq2_0,
};

struct DTypeTraits {
  const char* name;    // in JavaScript
  int32_t blockSize;   // values in a block; 1 for plain numbers
  int32_t blockBytes;  // bytes of a block
};

/// Traits of a type; name is nullptr if the value is not a type.
constexpr DTypeTraits traitsOf(DType type) {
  switch (type) {
    case DType::f32:
      return {"float32", 1, 4};
    case DType::bf16:
      return {"bfloat16", 1, 2};
    case DType::f16:
      return {"float16", 1, 2};
    case DType::i32:
      return {"int32", 1, 4};
    case DType::i64:
      return {"int64", 1, 8};
    case DType::u8:
      return {"uint8", 1, 1};
    case DType::q4_0:
      return {"q4_0", 32, 18};
    case DType::q4_1:
      return {"q4_1", 32, 20};
    case DType::q5_0:
      return {"q5_0", 32, 22};
    case DType::q5_1:
      return {"q5_1", 32, 24};
    case DType::q8_0:
      return {"q8_0", 32, 34};
    case DType::q2_k:
      return {"q2_k", 256, 84};
    case DType::q3_k:
      return {"q3_k", 256, 110};
    case DType::q4_k:
      return {"q4_k", 256, 144};
    case DType::q5_k:
      return {"q5_k", 256, 176};
    case DType::q6_k:
      return {"q6_k", 256, 210};
    case DType::iq4_nl:
      return {"iq4_nl", 32, 18};
    case DType::iq4_xs:
      return {"iq4_xs", 256, 136};
    case DType::mxfp4:
      return {"mxfp4", 32, 17};
    case DType::tq1_0:
      return {"tq1_0", 256, 54};
    case DType::tq2_0:
      return {"tq2_0", 256, 66};
  }
  return {nullptr, 0, 0};
}

/// Bytes of `elements` dense values of a type.
constexpr uint64_t bytesFor(DType type, int64_t elements) {
  const DTypeTraits traits = traitsOf(type);
  return static_cast<uint64_t>(elements / traits.blockSize) * static_cast<uint64_t>(traits.blockBytes);
}

constexpr bool isFloat(DType type) { return type == DType::f32 || type == DType::bf16 || type == DType::f16; }
constexpr bool isQuantised(DType type) { return traitsOf(type).blockSize > 1; }

}  // namespace mora
