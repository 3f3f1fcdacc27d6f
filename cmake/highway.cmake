# Highway, which compiles one source of a kernel for all instruction sets: the target hwy::hwy. The system's version is
# used from 1.2 on: 1.0 lacks functions, and 1.1 is untested.
set(MORA_HIGHWAY "auto" CACHE STRING "Highway: system, pinned (built here from a pinned source), or auto (the system's where it serves)")

if(NOT MORA_HIGHWAY STREQUAL "pinned")
  find_package(hwy 1.2 CONFIG QUIET)
  if(NOT hwy_FOUND AND MORA_HIGHWAY STREQUAL "system")
    message(FATAL_ERROR "MORA_HIGHWAY is system, but no Highway 1 from 1.2 on was found; MORA_HIGHWAY=pinned builds one.")
  endif()
endif()

if(NOT hwy_FOUND)
  mora_pinned_library(HIGHWAY VERSION 1.2.0 DEBIAN highway GITHUB google/highway TAG 1.2.0
    LICENCE Apache-2.0 SHA256 19709793bb6aed882df023213eecc582392ba7b375fa886ad07185b9a0879b15
    FILES CMakeLists.txt LICENSE cmake/ hwy/ libhwy
    OPTIONS -DHWY_ENABLE_CONTRIB=OFF -DHWY_ENABLE_EXAMPLES=OFF -DHWY_ENABLE_TESTS=OFF -DBUILD_TESTING=OFF)
  find_package(hwy 1.2 CONFIG REQUIRED PATHS ${HIGHWAY_PREFIX} NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH)
  unset(hwy_DIR CACHE) # else the next configuration mistakes it for the system's
endif()
