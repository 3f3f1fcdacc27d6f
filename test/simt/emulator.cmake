# The target `simt`: the emulator. Targets that link it are compiled against its headers and check the alignment of
# accesses. The emulator itself is always compiled without sanitizers.
find_library(BOOST_CONTEXT boost_context REQUIRED)
find_package(Threads REQUIRED)

file(GLOB SIMT_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.cpp ${CMAKE_CURRENT_LIST_DIR}/kernels/*.cpp
  ${CMAKE_CURRENT_LIST_DIR}/runtime/*.cpp)
add_library(simt STATIC ${SIMT_SOURCES})
target_compile_features(simt PUBLIC cxx_std_20)
set_target_properties(simt PROPERTIES POSITION_INDEPENDENT_CODE ON)
cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH SIMT_TEST_FOLDER)
target_include_directories(simt PUBLIC ${SIMT_TEST_FOLDER} ${SIMT_TEST_FOLDER}/../native)
target_include_directories(simt SYSTEM PUBLIC ${CMAKE_CURRENT_LIST_DIR}/include)
target_compile_options(simt PRIVATE -O3 -Wall -Wextra -Wpedantic)
# Kernels spend their time between threads, in the emulator: -O3 makes them hardly faster, and takes three times as long.
target_compile_options(simt INTERFACE -O1 -Wno-unknown-pragmas -fsanitize=alignment -fno-sanitize-recover=alignment)
target_link_options(simt INTERFACE -fsanitize=alignment)
target_link_libraries(simt PUBLIC Threads::Threads ${BOOST_CONTEXT} ${CMAKE_DL_LIBS})
