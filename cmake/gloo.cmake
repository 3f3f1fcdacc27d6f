# gloo, which connects ranks without MPI: GLOO_INCLUDE and GLOO_LIBRARY, both empty if gloo is unavailable. Builds for
# older systems link a pinned gloo in, which needs neither MPI nor any other library that a system may lack.
set(MORA_GLOO "auto" CACHE STRING "gloo: system, pinned (built here from a pinned source), or auto (pinned in builds for older systems, else the system's where there is one)")

if(MORA_GLOO STREQUAL "pinned" OR (MORA_GLOO STREQUAL "auto" AND CMAKE_SYSROOT))
  mora_pinned_library(GLOO VERSION 0.0~git20231202.5354032 DEBIAN gloo GITHUB facebookincubator/gloo
    TAG 5354032ea08eadd7fc4456477f7f7c6308818509 LICENCE BSD-3-Clause SHA256 0ae36c367d9a88ef2a3258913b780d938a98994287e0dfc2d947e914ab157efd
    FILES CMakeLists.txt LICENSE cmake/ gloo/
    OPTIONS -DCMAKE_POLICY_VERSION_MINIMUM=3.5 -DBUILD_TEST=OFF -DBUILD_BENCHMARK=OFF -DUSE_REDIS=OFF -DUSE_IBVERBS=OFF)
  set(GLOO_INCLUDE ${GLOO_PREFIX}/include)
  set(GLOO_LIBRARY ${GLOO_PREFIX}/lib/libgloo.a)
else()
  find_path(GLOO_INCLUDE gloo/allreduce.h)
  find_library(GLOO_LIBRARY gloo)
endif()
