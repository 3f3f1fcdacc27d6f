// Included before each kernel that is compiled for this processor alone (CMakeLists.txt).
#pragma once

// Highway's instruction set of Zen 4 has bfloat16, which it supposes where it is wanted and the sets below it are there: Ice Lake
// has these, and no bfloat16.
#ifndef __AVX512BF16__
#undef HWY_WANT_AVX3_ZEN4
#endif
#define HWY_COMPILE_ONLY_STATIC
