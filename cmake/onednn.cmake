# oneDNN, which multiplies matrices: the target DNNL::dnnl. The system's version is used from 3.7 on (older ones lack
# names of instruction sets, or are untested) if it can be restricted to the calling thread: built without threads, or
# with GCC's OpenMP.
set(MORA_ONEDNN "auto" CACHE STRING
  "oneDNN: system, pinned (built here from a pinned source), or auto (the system's where it serves)")

if(NOT MORA_ONEDNN STREQUAL "pinned")
  find_path(MORA_ONEDNN_HEADERS oneapi/dnnl/dnnl_config.h)
  if(MORA_ONEDNN_HEADERS AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    file(STRINGS ${MORA_ONEDNN_HEADERS}/oneapi/dnnl/dnnl_config.h fits
      REGEX "define DNNL_CPU_RUNTIME DNNL_RUNTIME_(SEQ|OMP)$")
    if(fits)
      find_package(dnnl 3.7 CONFIG QUIET)
      if(dnnl_FOUND AND fits MATCHES "OMP")
        find_package(OpenMP REQUIRED COMPONENTS CXX)
        target_link_libraries(DNNL::dnnl INTERFACE OpenMP::OpenMP_CXX)
      endif()
    endif()
  endif()
  if(NOT dnnl_FOUND AND MORA_ONEDNN STREQUAL "system")
    message(FATAL_ERROR "MORA_ONEDNN is system, but no oneDNN 3 from 3.7 on was found that has no threads, or those of "
      "GCC's OpenMP, for this compiler (${CMAKE_CXX_COMPILER}): set it to pinned, which builds one.")
  endif()
endif()

# Leaves out the two thirds of the files that products never call; compiles generated sources together, since most of
# their time is that of headers; and corrects two mistakes of 3.7 in products that 3.7.3 corrects (B's order for AVX2,
# and a depth that AMX does not divide where A's rows have a stride).
function(_mora_prepare_onednn source)
  set(products ${source}/src/cpu/x64/matmul/brgemm_matmul_utils.cpp)
  _mora_replace(${products} "bgmmc.wei_k_blk == 8" "data_type_vnni_simd_elems(bgmmc.wei_dt, bgmmc.isa) == 8")
  _mora_replace(${products} "&& !packed_sparse_weights" "&& !packed_sparse_weights && current_lda_ == K")
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
    return()
  endif()

  set(primitives batch_normalization binary concat convolution deconvolution eltwise group_normalization
    inner_product layer_normalization lrn pooling prelu reduction resampling shuffle softmax sum logging)
  list(TRANSFORM primitives REPLACE "(.+)" "${source}/src/common/\\1.cpp")
  file(GLOB_RECURSE unused RELATIVE ${source}/src/cpu ${source}/src/cpu/*.cpp)
  foreach(used
      "(bfloat16|float16|binary_injector_utils|cpu_engine|platform|primitive_attr_postops)\\.cpp"
      "(gemm_inner_product_utils|ref_eltwise|scale_utils|zero_point_utils)\\.cpp"
      "reorder/cpu_reorder(|_regular_f32_f32|_regular_bf16|_regular_s8|_comp_s8_s8)\\.cpp"
      "(gemm|matmul|jit_utils|x64/brgemm|x64/gemm|x64/injectors|x64/matmul|x64/utils)/"
      "x64/(amx_tile_configure|cpu_barrier|cpu_isa_traits|cpu_reducer|jit_generator|jit_gemm_inner_product_utils)\\.cpp"
      "x64/(jit_avx512_core_(fp|scale)|jit_avx512_sparse|jit_brgemm_p|jit_uni_reorder|jit_uni_convert)")
    list(FILTER unused EXCLUDE REGEX "^${used}")
  endforeach()
  list(TRANSFORM unused PREPEND ${source}/src/cpu/)
  file(REMOVE ${primitives} ${unused})
  file(COPY ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/onednn-lists.cpp DESTINATION ${source}/src/cpu)

  set(x64 ${source}/src/cpu/x64)
  foreach(type f32 bf16 s8x8s32)
    _mora_together(${x64}/gemm/${type} "*_autogen.cpp" all_kern_autogen.cpp)
  endforeach()
  if(MORA_PROCESSOR)
    _mora_quicken_onednn(${source})
  endif()
  _mora_replace(${x64}/CMakeLists.txt "\"-O1\"" "\"-O0 -U_FORTIFY_SOURCE\"")
endfunction()

# For a build in place, which is to end soon: no generator of code is optimised, since each runs once for a shape, and most sources are
# compiled together.
function(_mora_quicken_onednn source)
  set(x64 ${source}/src/cpu/x64)
  foreach(folder . injectors brgemm)
    _mora_together(${x64}/${folder} "jit_*.cpp" jit_all.cpp)
  endforeach()
  set(folder "\${CMAKE_CURRENT_SOURCE_DIR}")
  _mora_replace(${x64}/CMakeLists.txt "_kern_autogen.cpp)"
    "_kern_autogen.cpp ${folder}/jit_*.cpp ${folder}/*/jit_*.cpp ${folder}/gemm/*/jit_*.cpp ${folder}/matmul/*copy_utils.cpp)")

  # Names in these do not go with names of others.
  set(alone engine gemm scratchpad utils verbose matmul/brgemm_matmul)
  list(TRANSFORM alone REPLACE "(.+)" "${folder}/\\1.cpp")
  list(JOIN alone " " alone)
  foreach(part common cpu cpu/x64)
    file(APPEND ${source}/src/${part}/CMakeLists.txt "
set_target_properties(\${OBJ_LIB} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 16)
set_source_files_properties(${alone} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
")
  endforeach()
endfunction()

# Replaces the sources of a folder that match a pattern by one that includes them.
function(_mora_together folder pattern name)
  file(GLOB sources ${folder}/${pattern})
  set(together "")
  foreach(file ${sources})
    file(RENAME ${file} ${file}.inc)
    cmake_path(GET file FILENAME each)
    string(APPEND together "#include \"${each}.inc\"\n")
  endforeach()
  file(WRITE ${folder}/${name} "${together}")
endfunction()

function(_mora_replace file text other)
  file(READ ${file} content)
  string(REPLACE "${text}" "${other}" content "${content}")
  file(WRITE ${file} "${content}")
endfunction()

if(NOT dnnl_FOUND)
  # Products run code that is generated for each shape; -O3 would not speed up the generator, only slow down its
  # compilation. One that is compiled in place (PREPARE) is another library than one of a release.
  if(MORA_PROCESSOR)
    set(in_place ON)
  else()
    set(in_place OFF)
  endif()
  mora_pinned_library(ONEDNN VERSION 3.7.2 LICENCE Apache-2.0
    DEBIAN onednn GITHUB uxlfoundation/oneDNN TAG v3.7.2
    SHA256 ced4b23087dc3c748714c49bc0acd055c155c5eeec3df80ca56c00e897238f24
    FILES CMakeLists.txt LICENSE THIRD-PARTY-PROGRAMS README.binary.in cmake/ include/ src/ examples/CMakeLists.txt
      tests/CMakeLists.txt
    EXCEPT src/gpu/ src/graph/ src/common/spdlog/
    PREPARE _mora_prepare_onednn
    OPTIONS -DONEDNN_LIBRARY_TYPE=STATIC -DONEDNN_CPU_RUNTIME=SEQ
      -DONEDNN_ENABLE_PRIMITIVE=MATMUL\\\;REORDER -DONEDNN_ENABLE_WORKLOAD=INFERENCE
      -DONEDNN_BUILD_GRAPH=OFF -DONEDNN_BUILD_TESTS=OFF -DONEDNN_BUILD_EXAMPLES=OFF
      -DONEDNN_ENABLE_JIT_PROFILING=OFF -DONEDNN_ENABLE_ITT_TASKS=OFF -DONEDNN_ARCH_OPT_FLAGS= -DMORA_IN_PLACE=${in_place}
      "-DCMAKE_CXX_FLAGS_RELEASE=-O2 -DNDEBUG -w")
  find_package(dnnl 3.7 CONFIG REQUIRED PATHS ${ONEDNN_PREFIX} NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH)
  unset(dnnl_DIR CACHE) # else the next configuration mistakes it for the system's
endif()
