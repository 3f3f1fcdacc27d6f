{
  'targets': [
    {
      'target_name': 'mora',
      'type': 'none',
      'actions': [
        {
          'action_name': 'cmake',
          'inputs': ['CMakeLists.txt'],
          'outputs': ['<(PRODUCT_DIR)/mora.node'],
          'action': ['node', '<(module_root_dir)/scripts/build-native.mjs'],
        },
      ],
    },
  ],
}
