# The target `cpu_dequantise`, if Highway is found: the part of the CPU backend that unpacks block formats. Building all
# of it with sanitizers takes minutes.
if(NOT TARGET hwy::hwy)
  find_package(hwy CONFIG QUIET)
endif()
if(TARGET hwy::hwy AND NOT TARGET cpu_dequantise)
  add_library(cpu_dequantise STATIC EXCLUDE_FROM_ALL)
  foreach(name cpu/stored/convert cpu/copies cpu/stored/dequantise cpu/scheduling cpu/team core/process/process_limits)
    target_sources(cpu_dequantise PRIVATE ${MORA_ROOT}/native/${name}.cpp)
  endforeach()
  target_link_libraries(cpu_dequantise PUBLIC mora_options hwy::hwy)
endif()
