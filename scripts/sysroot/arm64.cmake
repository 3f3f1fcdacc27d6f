set(MORA_ARCHITECTURE arm64)
set(MORA_PROCESSOR aarch64)
include(${CMAKE_CURRENT_LIST_DIR}/debian-12.cmake)
