# On Windows, the library through which the addon finds Node.js's functions in its program: CMAKE_JS_LIB. cmake-js makes one for
# Visual Studio alone.
execute_process(COMMAND node -p "require('node-api-headers').def_paths.node_api_def" WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
  OUTPUT_VARIABLE functions OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
set(CMAKE_JS_LIB ${CMAKE_BINARY_DIR}/libnode.a)
execute_process(COMMAND ${CMAKE_DLLTOOL} -d ${functions} -l ${CMAKE_JS_LIB} COMMAND_ERROR_IS_FATAL ANY)
