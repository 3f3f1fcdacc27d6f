/** Files to mutate, and the tests that should notice. */

const chatTests = [
  'chat-announcements',
  'chat-ends',
  'chat-mask',
  'chat-places',
  'chat-turns',
  'token-spans',
  'turn-texts',
].map((name) => `test/text/masks/${name}.test.ts`)

export const typescript = [
  { file: 'lib/text/masks/chat-turns.ts', tests: chatTests },
  { file: 'lib/text/masks/turn-texts.ts', tests: chatTests },
  { file: 'lib/text/masks/token-spans.ts', tests: chatTests },
  { file: 'lib/batches/packing.ts', tests: ['test/batches/packing.test.ts'] },
  { file: 'lib/optim/schedule.ts', tests: ['test/optim/schedule.test.ts'] },
]

/** Programs that need nothing but headers. */
export const cpp = [
  { file: 'native/mora/geometry.h', tests: ['test/native/geometry.cpp', 'test/native/section_operations.cpp'] },
  { file: 'native/core/math/section_operations.h', tests: ['test/native/section_operations.cpp'] },
  { file: 'native/mora/windows.h', tests: ['test/native/windows.cpp'] },
  { file: 'native/core/math/window_operations.h', tests: ['test/native/section_operations.cpp'] },
]
