# Compiler settings of every target, for the whole build (CMakeLists.txt) and for the CUDA backend alone
# (cuda/CMakeLists.txt). Needs no package.
cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH MORA_ROOT)

set(MORA_SANITIZE "" CACHE STRING "Sanitizers for every target, as GCC spells them (address,undefined or thread)")
option(MORA_COVERAGE "Count which lines and branches run, for gcov" OFF)

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

# Links a language's shared libraries under another name and renames them, so that a build that is killed, or finds the disk full,
# leaves none half-written where it would be loaded.
macro(mora_link_whole language)
  string(REPLACE "-o <TARGET> " "-o <TARGET>.unfinished " CMAKE_${language}_CREATE_SHARED_LIBRARY
    "${CMAKE_${language}_CREATE_SHARED_LIBRARY}")
  if(CMAKE_${language}_CREATE_SHARED_LIBRARY MATCHES "unfinished")
    list(APPEND CMAKE_${language}_CREATE_SHARED_LIBRARY "\"${CMAKE_COMMAND}\" -E rename <TARGET>.unfinished <TARGET>")
  endif()
endmacro()
mora_link_whole(CXX)

# Cached objects contain relative paths, so that all checkouts and installed copies of the package share them.
set(MORA_COMPILER_LAUNCHER "")
find_program(CCACHE ccache)
if(CCACHE)
  set(MORA_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${MORA_ROOT} ${CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${MORA_COMPILER_LAUNCHER})
endif()

add_library(mora_options INTERFACE)
# A system's form may leave fields of the interface unused (core/system).
target_compile_options(mora_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic> $<$<COMPILE_LANG_AND_ID:CXX,Clang,AppleClang>:-Wno-unused-private-field>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CONFIG:Release>>:-O3>)
target_include_directories(mora_options INTERFACE ${MORA_ROOT}/native)
# Instruction sets that kernels are compiled for: SSE2, AVX2, AVX-512, and AVX-512 with bf16; on arm64 NEON with and
# without bf16. SVE is impossible: the kernels keep vectors in arrays and structures, which need a known length.
# On Macs only SSE2 and AVX2, since few have AVX-512, and NEON without bf16, in which no product runs there.
target_compile_definitions(mora_options INTERFACE HWY_WANT_AVX3_ZEN4
  HWY_DISABLED_TARGETS=\(HWY_SSSE3|HWY_SSE4|HWY_AVX3_DL|HWY_ALL_SVE$<$<PLATFORM_ID:Darwin>:|HWY_AVX3|HWY_AVX3_ZEN4|HWY_AVX3_SPR|HWY_NEON_BF16>\))
if(MORA_SANITIZE)
  target_compile_options(mora_options INTERFACE
    -fsanitize=${MORA_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1 -O1)
  target_link_options(mora_options INTERFACE -fsanitize=${MORA_SANITIZE})
endif()
if(MORA_COVERAGE)
  # Only one instruction set, since the others are the same lines, and no inlining, which would count lines once per
  # call site.
  target_compile_definitions(mora_options INTERFACE HWY_COMPILE_ONLY_STATIC)
  target_compile_options(mora_options INTERFACE --coverage -fprofile-update=atomic -O1 -fno-inline)
  target_link_options(mora_options INTERFACE --coverage)
endif()

# What asks the system (native/core/system): one interface, and folders with a form of it for each system.
if(WIN32)
  set(MORA_SYSTEM windows absent)
elseif(APPLE)
  set(MORA_SYSTEM posix macos absent)
else()
  set(MORA_SYSTEM posix linux)
endif()
set(MORA_SYSTEM_SOURCES "")
foreach(folder ${MORA_SYSTEM})
  file(GLOB sources CONFIGURE_DEPENDS ${MORA_ROOT}/native/core/system/${folder}/*.cpp)
  list(APPEND MORA_SYSTEM_SOURCES ${sources})
endforeach()

# Shared by backends; the CUDA backends are separate libraries with a copy of their own.
set(MORA_SHARED_SOURCES ${MORA_ROOT}/native/core/arena.cpp ${MORA_ROOT}/native/core/libraries/nvidia_folders.cpp
  ${MORA_ROOT}/native/core/profile.cpp ${MORA_ROOT}/native/core/process/worker.cpp)
set(system_libraries ${MORA_SYSTEM_SOURCES})
list(FILTER system_libraries INCLUDE REGEX "/(libraries|text)\\.cpp$")
list(APPEND MORA_SHARED_SOURCES ${system_libraries})
