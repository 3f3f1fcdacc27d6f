/** Mutants that compute the same as the original, by file: a part of their line, and why. */
export const equivalents = {
  'lib/text/masks/token-spans.ts': [
    // The tokens before the answer's are those of the text before it, which differ.
    'shared <= answer.length',
  ],
  'lib/text/masks/turn-texts.ts': [
    // Past the end of one text, either the other has a letter or both have ended.
    'length <= a.length',
    'length <= b.length',
    'while (true && length < b.length',
    'length < a.length && true',
    'length < a.length || length < b.length',
    // No message has the index undefined.
    'const own = false ? undefined',
    // Tokens of the same length at the same place are the same.
    'token.length >= length',
  ],
  'lib/batches/packing.ts': [
    // A write one place too far is overwritten by the next row, and ignored past the end.
    't <= length',
    // Past the last token there is no mask.
    't - 1 < row.ids.length',
    't + 1 <= row.ids.length',
  ],
  'native/mora/geometry.h': [
    // Both formulas have the same value at the border, and either of two equal numbers is the minimum.
    'c <= split',
    'g <= longer',
    'needed <= sections()',
    'all <= outFeatures',
    // A run of no sections has no product.
    'full >= 0',
  ],
  'native/core/math/section_operations.h': [
    // Folded matrices are dense: their columns are 1 apart.
    'product.column / folded.strides[2]',
    // The unwritten part is whole rows or columns of a section of at least 2.
    'unwritten > 1',
    // Only the place of a part of the matrices is looked at.
    'whole{1, R, 0, 0, R',
    'whole{0, R, 0, 1, R',
    'last, 1, false}',
  ],
  'native/core/math/window_operations.h': [
    // Matrices are square.
    'window = dFolded.shape[2]',
    // Only the place of a part of the matrices is looked at.
    '{1, window, 0, 0, window',
    '{0, window, 0, 1, window',
    'last, 1, false}',
  ],
  'native/mora/windows.h': [
    // No window is narrower than a cell.
    'int64_t widest = 1',
  ],
}
