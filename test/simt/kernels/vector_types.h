// CUDA's small vectors and dim3, with CUDA's sizes and alignments.
#pragma once

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3() = default;
  constexpr dim3(unsigned x, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
};

#define SIMT_VECTOR2(Name, Type)          \
  struct alignas(2 * sizeof(Type)) Name { \
    Type x, y;                            \
  };                                      \
  constexpr Name make_##Name(Type x, Type y) { return {x, y}; }
#define SIMT_VECTOR4(Name, Type)                                       \
  struct alignas(4 * sizeof(Type) > 16 ? 16 : 4 * sizeof(Type)) Name { \
    Type x, y, z, w;                                                   \
  };                                                                   \
  constexpr Name make_##Name(Type x, Type y, Type z, Type w) { return {x, y, z, w}; }

SIMT_VECTOR2(char2, signed char)
SIMT_VECTOR2(uchar2, unsigned char)
SIMT_VECTOR2(short2, short)
SIMT_VECTOR2(ushort2, unsigned short)
SIMT_VECTOR2(int2, int)
SIMT_VECTOR2(uint2, unsigned)
SIMT_VECTOR2(float2, float)
SIMT_VECTOR2(double2, double)
SIMT_VECTOR2(longlong2, long long)
SIMT_VECTOR2(ulonglong2, unsigned long long)
SIMT_VECTOR4(char4, signed char)
SIMT_VECTOR4(uchar4, unsigned char)
SIMT_VECTOR4(short4, short)
SIMT_VECTOR4(ushort4, unsigned short)
SIMT_VECTOR4(int4, int)
SIMT_VECTOR4(uint4, unsigned)
SIMT_VECTOR4(float4, float)

#undef SIMT_VECTOR2
#undef SIMT_VECTOR4
