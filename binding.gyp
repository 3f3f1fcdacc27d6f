# For tools that speak node-gyp, such as electron-rebuild: hands the build over to CMake, whose CMakeLists.txt is its only
# description. "target" is what they build for.
{
  'variables': {'target%': '', 'runtime%': 'node'},
  'targets': [
    {
      'target_name': 'mora',
      'type': 'none',
      'actions': [
        {
          'action_name': 'cmake',
          'inputs': ['CMakeLists.txt'],
          'outputs': ['<(PRODUCT_DIR)/mora.node'],
          'action': [
            'node',
            '<(module_root_dir)/scripts/build-native.mjs',
            '--gyp-target=<(runtime) <(target)',
          ],
        },
      ],
    },
  ],
}
