# Compiles with GCC 12 against what unpack.sh has unpacked of Debian 12 for MORA_ARCHITECTURE, and nothing else of the machine;
# for another processor than the machine's too. GCC 12's C++ library is linked in, for systems that have an older one.
set(CMAKE_SYSROOT ${CMAKE_CURRENT_LIST_DIR}/../../build/sysroot/${MORA_ARCHITECTURE})
cmake_path(NORMAL_PATH CMAKE_SYSROOT)
if(NOT CMAKE_HOST_SYSTEM_PROCESSOR STREQUAL MORA_PROCESSOR)
  set(CMAKE_SYSTEM_NAME Linux)
  set(CMAKE_SYSTEM_PROCESSOR ${MORA_PROCESSOR})
endif()
set(triple ${MORA_PROCESSOR}-linux-gnu)
set(CMAKE_LIBRARY_ARCHITECTURE ${triple})

# GCC looks for its C++ library, and one for another processor for that of C, on the machine whatever the sysroot is.
set(usr ${CMAKE_SYSROOT}/usr)
set(headers -isystem ${usr}/include/${triple} -isystem ${usr}/include)
set(CMAKE_C_COMPILER ${triple}-gcc-12 ${headers})
list(PREPEND headers -nostdinc++ -isystem ${usr}/include/c++/12 -isystem ${usr}/include/${triple}/c++/12)
set(CMAKE_CXX_COMPILER ${triple}-g++-12 ${headers})
set(CMAKE_CUDA_HOST_COMPILER ${triple}-g++-12)
list(JOIN headers "," headers)
set(CMAKE_CUDA_FLAGS_INIT "-Xcompiler=--sysroot=${CMAKE_SYSROOT},${headers}")

set(MORA_LINKED_BY_TOOLCHAIN "{\"name\": \"libstdc++\", \"version\": \"12.2.0\", \"texts\": \"${CMAKE_SYSROOT}/licences\", \
\"licence\": \"GPL-3.0-or-later WITH GCC-exception-3.1\"}")
foreach(kind EXE SHARED MODULE)
  set(CMAKE_${kind}_LINKER_FLAGS_INIT "--sysroot=${CMAKE_SYSROOT} -static-libstdc++ -Wl,--gc-sections")
  foreach(folder lib/${triple} usr/lib/${triple} usr/lib/gcc/${triple}/12)
    string(APPEND CMAKE_${kind}_LINKER_FLAGS_INIT " -B${CMAKE_SYSROOT}/${folder}")
  endforeach()
endforeach()
# Nothing of the C++ library that is linked in is seen by that of Node.js, nor the other way around.
foreach(kind SHARED MODULE)
  string(APPEND CMAKE_${kind}_LINKER_FLAGS_INIT " -Wl,--version-script=${CMAKE_CURRENT_LIST_DIR}/exports.map")
endforeach()

set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
