# Compiles for macOS of MORA_ARCHITECTURE on Linux with zig, which setup.sh has fetched. zig links its C++ library in.
set(CMAKE_SYSTEM_NAME Darwin)
cmake_path(SET tools NORMALIZE ${CMAKE_CURRENT_LIST_DIR}/../../build/macos/${MORA_ARCHITECTURE})
set(CMAKE_C_COMPILER ${tools}/clang)
set(CMAKE_CXX_COMPILER ${tools}/clang++)
set(CMAKE_AR ${tools}/ar)
set(CMAKE_RANLIB ${tools}/ranlib)
set(CMAKE_INSTALL_NAME_TOOL true)
# No SDK is here; zig finds its own headers.
set(CMAKE_OSX_SYSROOT "")
set(CMAKE_OSX_DEPLOYMENT_TARGET "")

# Node.js has the functions that the addon calls.
set(CMAKE_SHARED_LINKER_FLAGS_INIT "-undefined dynamic_lookup -s")
# The addon does not name the folder where it was built.
set(CMAKE_INSTALL_NAME_DIR "@rpath")
set(CMAKE_BUILD_WITH_INSTALL_NAME_DIR ON)

cmake_path(SET licences NORMALIZE ${tools}/../licences)
set(MORA_LINKED_BY_TOOLCHAIN
  "{\"name\": \"libc++\", \"version\": \"19.1\", \"licence\": \"Apache-2.0 WITH LLVM-exception\", \"texts\": \"${licences}/libc++\"}"
  "{\"name\": \"zig\", \"version\": \"0.14.0-dev.2456\", \"licence\": \"MIT\", \"texts\": \"${licences}/zig\"}")

# Nothing of the machine's own libraries but Eigen, which is headers.
set(CMAKE_FIND_ROOT_PATH ${tools})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
find_path(eigen share/eigen3/cmake/Eigen3Config.cmake PATHS /usr /usr/local NO_CMAKE_FIND_ROOT_PATH)
set(Eigen3_DIR ${eigen}/share/eigen3/cmake)
set(MORA_HIGHWAY pinned)
