/**
 * Returns the files of a small tokenizer as objects: each character is a token, and so is each pair of hexadecimal digits (a
 * uuid has 20 tokens). `special` adds special tokens, `chatTemplate` a template.
 * @param {{ maxLength: number, special?: string[], chatTemplate?: string }} what
 */
export function characterTokenizer({ maxLength, special: added = [], chatTemplate }) {
  const digits = [...'0123456789abcdef']
  const pairs = digits.flatMap((first) => digits.map((second) => [first, second]))
  const printable = Array.from({ length: 0x7f - 0x20 }, (_, i) => String.fromCharCode(0x20 + i))
  const special = ['<end>', '<unknown>', ...added]
  const vocabulary = [...special, '\n', ...printable, ...pairs.map((pair) => pair.join(''))]
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: special.map((content, id) => ({ id, content, ...flags })),
    normalizer: null,
    // Pairs are cut from left to right, so that the same uuid always has the same tokens.
    pre_tokenizer: { type: 'Split', pattern: { Regex: '[0-9a-f]{2}' }, behavior: 'Isolated', invert: false },
    post_processor: null,
    decoder: { type: 'Fuse' },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: '<unknown>',
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(vocabulary.map((token, id) => [token, id])),
      merges: pairs.map((pair) => pair.join(' ')),
    },
  }
  const settings = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    model_max_length: maxLength,
    add_bos_token: false,
    eos_token: '<end>',
    pad_token: '<end>',
    unk_token: '<unknown>',
    ...(chatTemplate && { chat_template: chatTemplate }),
  }
  return { tokenizer, settings, size: vocabulary.length }
}
