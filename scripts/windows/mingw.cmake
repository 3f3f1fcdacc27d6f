# Compiles for Windows x64 on Linux with MinGW's GCC (Debian: g++-mingw-w64-x86-64-posix). Its runtime libraries are linked in.
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR AMD64)
set(triple x86_64-w64-mingw32)
set(CMAKE_C_COMPILER ${triple}-gcc-posix)
set(CMAKE_CXX_COMPILER ${triple}-g++-posix)
set(CMAKE_RC_COMPILER ${triple}-windres)

foreach(language C CXX)
  # Windows aligns stacks to 16 bytes, and GCC aligns no variable of them to more (its bug 54412): vectors of 32 and 64 bytes are
  # moved by instructions that need no alignment.
  set(CMAKE_${language}_FLAGS_INIT
    "-Wa,-muse-unaligned-vector-move -D_WIN32_WINNT=0x0A00 -DNOMINMAX -DWIN32_LEAN_AND_MEAN -ffunction-sections -fdata-sections")
endforeach()
foreach(kind EXE SHARED MODULE)
  set(CMAKE_${kind}_LINKER_FLAGS_INIT "-static -Wl,--gc-sections")
endforeach()

# Nothing of the machine's own libraries but Eigen, which is headers.
set(CMAKE_FIND_ROOT_PATH /usr/${triple})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
find_path(eigen share/eigen3/cmake/Eigen3Config.cmake PATHS /usr /usr/local NO_CMAKE_FIND_ROOT_PATH)
set(Eigen3_DIR ${eigen}/share/eigen3/cmake)
set(MORA_HIGHWAY pinned)
set(MORA_ONEDNN pinned)
