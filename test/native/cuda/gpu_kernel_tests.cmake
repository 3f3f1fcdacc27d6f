# The kernels' own tests, for a GPU: one program that runs the test named by its argument, and lists the tests without
# one.
file(GLOB TEST_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/cuda_*.cpp ${CMAKE_CURRENT_LIST_DIR}/*/cuda_*.cpp)

foreach(source ${TEST_SOURCES})
  cmake_path(GET source STEM name)
  set_source_files_properties(${source} PROPERTIES LANGUAGE CUDA COMPILE_DEFINITIONS "main=${name}")
  string(APPEND TEST_DECLARATIONS "int ${name}();\n")
  string(APPEND TEST_ENTRIES "    {\"${name}\", ${name}},\n")
endforeach()
configure_file(${CMAKE_CURRENT_LIST_DIR}/gpu_kernel_tests.cpp.in gpu_kernel_tests.cpp @ONLY)
add_executable(gpu_kernel_tests EXCLUDE_FROM_ALL ${CMAKE_CURRENT_BINARY_DIR}/gpu_kernel_tests.cpp ${TEST_SOURCES})
target_include_directories(gpu_kernel_tests PRIVATE ${MORA_ROOT}/test/native)
set_target_properties(gpu_kernel_tests PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
target_link_libraries(gpu_kernel_tests PRIVATE mora_cuda_objects)
