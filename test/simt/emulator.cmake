# The target `simt`: the emulator. Targets that link it are compiled against its headers and check the alignment of
# accesses. The emulator itself is always compiled without sanitizers.
find_library(BOOST_CONTEXT boost_context REQUIRED)
find_package(Threads REQUIRED)
set(SIMT_ARCHIVE "" CACHE FILEPATH "The emulator that another build of these sources has made; without one, it is built")

add_library(simt_headers INTERFACE)
target_compile_features(simt_headers INTERFACE cxx_std_20)
cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH SIMT_TEST_FOLDER)
target_include_directories(simt_headers INTERFACE ${SIMT_TEST_FOLDER} ${SIMT_TEST_FOLDER}/../native)
target_include_directories(simt_headers SYSTEM INTERFACE ${CMAKE_CURRENT_LIST_DIR}/include)

set(SIMT_EMULATOR ${SIMT_ARCHIVE})
if(NOT SIMT_ARCHIVE)
  file(GLOB SIMT_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.cpp ${CMAKE_CURRENT_LIST_DIR}/kernels/*.cpp
    ${CMAKE_CURRENT_LIST_DIR}/runtime/*.cpp)
  set(SIMT_EMULATOR simt_emulator)
  add_library(simt_emulator STATIC ${SIMT_SOURCES})
  set_target_properties(simt_emulator PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_compile_options(simt_emulator PRIVATE -O3 -Wall -Wextra -Wpedantic)
  target_link_libraries(simt_emulator PRIVATE simt_headers)
endif()

add_library(simt INTERFACE)
# Kernels spend their time between threads, in the emulator: -O3 makes them hardly faster, and takes three times as long.
target_compile_options(simt INTERFACE -O1 -Wno-unknown-pragmas -fsanitize=alignment -fno-sanitize-recover=alignment)
target_link_options(simt INTERFACE -fsanitize=alignment)
target_link_libraries(simt INTERFACE simt_headers ${SIMT_EMULATOR} Threads::Threads ${BOOST_CONTEXT} ${CMAKE_DL_LIBS})
