# Builds a library from a pinned source, once for all configurations of a checkout, into build/pinned.
#
#   mora_pinned_library(NAME VERSION 1.2.3 LICENCE … DEBIAN … GITHUB … TAG … SHA256 … FILES … [EXCEPT …] [PREPARE …] OPTIONS …)
#
# The source is the first of these that is available: the archive that MORA_<NAME>_SOURCE names (to CMake or in the
# environment), Debian's source package DEBIAN, GITHUB's archive of TAG. These archives differ in compression and in files
# that are not compiled, so SHA256 is the hash of a list: hash and name of every file that matches FILES and not EXCEPT, as
# sha256sum prints it. Other files are removed; a source with another hash is refused. Then the function PREPARE is called
# with the source's folder. OPTIONS are for the library's own CMake. Sets <NAME>_PREFIX to the folder it is installed in.

function(mora_pinned_library name)
  cmake_parse_arguments(PARSE_ARGV 1 pinned "" "VERSION;LICENCE;DEBIAN;GITHUB;TAG;SHA256;PREPARE" "FILES;EXCEPT;OPTIONS")
  string(TOLOWER ${name} lower)
  set(settings -DCMAKE_BUILD_TYPE=Release -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DBUILD_SHARED_LIBS=OFF ${pinned_OPTIONS})
  foreach(variable C_COMPILER CXX_COMPILER TOOLCHAIN_FILE MAKE_PROGRAM)
    if(CMAKE_${variable})
      list(APPEND settings -DCMAKE_${variable}=${CMAKE_${variable}})
    endif()
  endforeach()
  file(READ ${CMAKE_CURRENT_LIST_FILE} caller)
  string(SHA256 identity "${settings} ${caller} ${CMAKE_CXX_COMPILER_VERSION} ${CMAKE_SYSTEM_PROCESSOR}")
  string(SUBSTRING ${identity} 0 8 identity)

  set(pinned ${CMAKE_SOURCE_DIR}/build/pinned)
  set(source ${pinned}/${lower}-${pinned_VERSION})
  set(prefix ${source}-${identity})
  set(${name}_PREFIX ${prefix} PARENT_SCOPE)
  set_property(GLOBAL APPEND PROPERTY MORA_PINNED
    "{\"name\": \"${lower}\", \"version\": \"${pinned_VERSION}\", \"licence\": \"${pinned_LICENCE}\", \"texts\": \"${prefix}/licences\"}")
  # If two configurations run at once, one builds and the other waits for it.
  file(LOCK ${pinned} DIRECTORY GUARD FUNCTION)
  if(EXISTS ${prefix}/complete)
    return()
  endif()
  message(NOTICE "node-mora: building ${lower} ${pinned_VERSION}, once.")
  _mora_fetch()
  _mora_verify()
  if(pinned_PREPARE)
    cmake_language(CALL ${pinned_PREPARE} ${source})
  endif()
  _mora_build()
  file(GLOB texts ${source}/LICENSE* ${source}/THIRD-PARTY*)
  file(COPY ${texts} DESTINATION ${prefix}/licences)
  file(REMOVE_RECURSE ${source} ${source}.build)
  file(TOUCH ${prefix}/complete)
endfunction()

# Unpacks the first available source into `source`.
function(_mora_fetch)
  set(archive "${MORA_${name}_SOURCE}")
  if(NOT archive)
    set(archive "$ENV{MORA_${name}_SOURCE}")
  endif()
  if(archive AND NOT EXISTS "${archive}")
    message(FATAL_ERROR "MORA_${name}_SOURCE is ${archive}, where there is no file.")
  elseif(NOT archive)
    execute_process(
      COMMAND bash ${CMAKE_SOURCE_DIR}/scripts/debian-packages.sh --into ${pinned}/debian --suite trixie --source ${pinned_DEBIAN}
      ERROR_VARIABLE why_not_debian)
    file(GLOB archive ${pinned}/debian/${pinned_DEBIAN}_${pinned_VERSION}*.orig.tar.*)
    if(NOT archive) # complete, even if other files of the package could not be downloaded
      _mora_download()
    endif()
  endif()
  file(REMOVE_RECURSE ${source} ${source}.unpacked)
  file(ARCHIVE_EXTRACT INPUT ${archive} DESTINATION ${source}.unpacked)
  # Most archives contain one folder; some of Debian's contain its content.
  file(GLOB top ${source}.unpacked/*)
  list(LENGTH top entries)
  if(NOT entries EQUAL 1)
    set(top ${source}.unpacked)
  endif()
  file(RENAME "${top}" ${source})
  file(REMOVE_RECURSE ${source}.unpacked)
  set(archive ${archive} PARENT_SCOPE)
endfunction()

function(_mora_download)
  set(url https://github.com/${pinned_GITHUB}/archive/${pinned_TAG}.tar.gz)
  set(archive ${source}.tar.gz)
  file(DOWNLOAD ${url} ${archive} STATUS downloaded TLS_VERIFY ON INACTIVITY_TIMEOUT 60)
  list(POP_FRONT downloaded failure)
  if(failure)
    file(REMOVE ${archive})
    string(STRIP "${why_not_debian}" why_not_debian)
    message(FATAL_ERROR "node-mora needs ${lower} ${pinned_VERSION}, and found neither a fitting one on this system nor its "
      "source:\n  Debian: ${why_not_debian}\n  ${url}: ${downloaded}\n"
      "Download that archive elsewhere and set MORA_${name}_SOURCE to where it is.")
  endif()
  set(archive ${archive} PARENT_SCOPE)
endfunction()

# Removes all files but the pinned ones and verifies their hashes.
function(_mora_verify)
  file(GLOB_RECURSE files LIST_DIRECTORIES false RELATIVE ${source} ${source}/*)
  list(SORT files)
  set(hashes "")
  list(JOIN pinned_FILES "|" wanted)
  list(JOIN pinned_EXCEPT "|" unwanted)
  foreach(file ${files})
    if(file MATCHES "^(${wanted})" AND NOT (unwanted AND file MATCHES "^(${unwanted})"))
      file(SHA256 ${source}/${file} hash)
      string(APPEND hashes "${hash}  ${file}\n")
    else()
      file(REMOVE ${source}/${file})
    endif()
  endforeach()
  string(SHA256 hash "${hashes}")
  if(NOT hash STREQUAL pinned_SHA256)
    file(REMOVE_RECURSE ${source})
    message(FATAL_ERROR "${archive} is not the source of ${lower} ${pinned_VERSION}: its files hash to ${hash}, expected "
      "${pinned_SHA256}. Remove it, or set MORA_${name}_SOURCE to an archive of that version.")
  endif()
endfunction()

# Runs in a process of its own, so that its output shows the progress.
function(_mora_build)
  if(DEFINED ENV{CMAKE_BUILD_PARALLEL_LEVEL})
    set(jobs $ENV{CMAKE_BUILD_PARALLEL_LEVEL})
  else()
    cmake_host_system_information(RESULT jobs QUERY NUMBER_OF_LOGICAL_CORES)
  endif()
  execute_process(
    COMMAND ${CMAKE_COMMAND} -S ${source} -B ${source}.build -G ${CMAKE_GENERATOR} -DCMAKE_INSTALL_PREFIX=${prefix}
      -DCMAKE_INSTALL_LIBDIR=lib ${settings} "-DCMAKE_C_COMPILER_LAUNCHER=${MORA_COMPILER_LAUNCHER}"
      "-DCMAKE_CXX_COMPILER_LAUNCHER=${MORA_COMPILER_LAUNCHER}"
    RESULT_VARIABLE failure OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT failure)
    execute_process(COMMAND ${CMAKE_COMMAND} --build ${source}.build --parallel ${jobs} RESULT_VARIABLE failure)
    set(output "")
  endif()
  if(NOT failure)
    execute_process(COMMAND ${CMAKE_COMMAND} --install ${source}.build
      RESULT_VARIABLE failure OUTPUT_VARIABLE output ERROR_VARIABLE output)
  endif()
  if(failure)
    message(FATAL_ERROR "${lower} ${pinned_VERSION} could not be built from ${archive}.\n${output}")
  endif()
endfunction()
