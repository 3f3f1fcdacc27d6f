// Matrix units of bfloat16 (AMX; Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2): 8 registers
// of 16 rows of 64 bytes. MORA_MATRIX_UNITS says whether the target has them, hasMatrixUnits whether the machine does.
//
// Include it after hwy/foreach_target.h, once per file.
#if defined(MORA_CPU_MATRIX_UNITS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_CPU_MATRIX_UNITS_INL_H_
#undef MORA_CPU_MATRIX_UNITS_INL_H_
#else
#define MORA_CPU_MATRIX_UNITS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <type_traits>

#include "cpu/products/matrix_units.h"

#undef MORA_MATRIX_UNITS
#if HWY_TARGET == HWY_AVX3_SPR && HWY_ARCH_X86_64 && defined(__linux__)
#define MORA_MATRIX_UNITS 1
#else
#define MORA_MATRIX_UNITS 0
#endif

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// Configures the calling thread's registers for products of P during its lifetime; does nothing for f32.
template <class P>
struct MatrixUnits {
  MatrixUnits() {}  // not trivial, so that an unused variable causes no warning
  MatrixUnits(const MatrixUnits&) = delete;
  MatrixUnits& operator=(const MatrixUnits&) = delete;
};

#if MORA_MATRIX_UNITS

constexpr int64_t kMatrixRows = 16;  // and 16 units of 4 bytes in each

template <>
struct MatrixUnits<hwy::bfloat16_t> {
  MatrixUnits() {
    struct alignas(64) {
      uint8_t palette = 1, firstRow = 0, reserved[14] = {};
      uint16_t rowBytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } const shapes;
    asm volatile("ldtilecfg %0" ::"m"(shapes));
  }
  ~MatrixUnits() { asm volatile("tilerelease" ::: "memory"); }
  MatrixUnits(const MatrixUnits&) = delete;
  MatrixUnits& operator=(const MatrixUnits&) = delete;
};

/// Loads 16 rows of 16 units (or f32) into register `kTo`; the stride is in units.
template <int kTo>
HWY_INLINE void loadMatrix(const void* from, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(4 * stride), "i"(kTo) : "memory");
}

template <int kFrom>
HWY_INLINE void storeMatrix(float* to, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(4 * stride), "i"(kFrom) : "memory");
}

template <int kTo>
HWY_INLINE void clearMatrix() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kTo));
}

/// Register kSum [16, 16] f32 += kLeft [16, 16 pairs] kRight [16 pairs, 16].
template <int kSum, int kLeft, int kRight>
HWY_INLINE void addProduct() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kLeft), "i"(kRight));
}

#endif  // MORA_MATRIX_UNITS

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
