/** The test files whose tests run on whichever device MORA_TEST_DEVICE names; `*` is any part of one name. */
export const testsOfEveryDevice = [
  'test/operations/*.test.ts',
  'test/golden/layer.test.ts',
  'test/golden/tiny-inference.test.ts',
  'test/golden/tiny-training.test.ts',
  'test/golden/methods.test.ts',
  'test/golden/gguf-blocks.test.ts',
  'test/golden/tiny-generation.test.ts',
  'test/tensor/errors.test.ts',
  'test/tensor/memory.test.ts',
  'test/tensor/sampling.test.ts',
  'test/models/methods.test.ts',
  'test/models/tables.test.ts',
  'test/models/tied.test.ts',
  'test/adapters/dora.test.ts',
  'test/nn/linear.test.ts',
  'test/cuda/*.test.ts',
]
