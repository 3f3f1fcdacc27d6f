# Times kernels on a GPU: main.cpp says how. The emulator has the same program (test/simt), to try it.
file(GLOB BENCH_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.cpp)
add_executable(gpu_kernel_bench EXCLUDE_FROM_ALL ${BENCH_SOURCES})
target_include_directories(gpu_kernel_bench PRIVATE ${MORA_ROOT}/test/native)
set_target_properties(gpu_kernel_bench PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
target_link_libraries(gpu_kernel_bench PRIVATE mora_cuda_objects)
