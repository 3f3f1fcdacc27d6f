/** The bytes of tokens, for tokenizers whose text is the concatenation of its tokens' bytes. */
import { isJsonObject } from '../../io/json.js'

/** Rule by which such a tokenizer turns tokens into text. */
interface ByteRule {
  /** Returns the bytes of a token, from its spelling. */
  bytesOf(token: string): Uint8Array
  readonly dropsSpace: boolean
}

const utf8 = new TextEncoder()

/** Reads the decoder of tokenizer.json; null if a token's text depends on its neighbours. */
export function byteRuleOf(decoder: unknown): ByteRule | null {
  const steps = stepsOf(decoder)
  const types = steps.map(({ type }) => type)
  if (types.join() === 'ByteLevel') return { bytesOf: byteLevelBytes, dropsSpace: false }
  // SentencePiece's with byte fallback: Llama 2, Gemma, Mistral.
  const [replace, , , strip] = steps
  const isFallback = ['Replace,ByteFallback,Fuse', 'Replace,ByteFallback,Fuse,Strip'].includes(types.join())
  if (!isFallback || !isSpaceMark(replace!) || (strip && !isOneSpace(strip))) return null
  return { bytesOf: fallbackBytes, dropsSpace: strip !== undefined }
}

type Step = Readonly<Record<string, unknown>>

function stepsOf(decoder: unknown): Step[] {
  if (!isJsonObject(decoder)) return []
  return decoder.type === 'Sequence' && Array.isArray(decoder.decoders) ? decoder.decoders.flatMap(stepsOf) : [decoder]
}

const isSpaceMark = ({ pattern, content }: Step): boolean =>
  isJsonObject(pattern) && pattern.String === '▁' && content === ' '

const isOneSpace = ({ content, start, stop }: Step): boolean => content === ' ' && start === 1 && stop === 0

/** GPT-2's letters for bytes: printable bytes of Latin-1 stand for themselves, the others for letters from U+0100 on. */
export const BYTE_LETTERS: readonly string[] = byteLetters()

function byteLetters(): string[] {
  const isPrintable = (byte: number) => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad)
  let next = 256
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++))
}

const bytesOfCharacters = new Map(BYTE_LETTERS.map((letter, byte) => [letter, byte]))

/** Tokens with other characters, which are added ones, are text as they are. */
function byteLevelBytes(token: string): Uint8Array {
  const bytes = Array.from(token, (character) => bytesOfCharacters.get(character))
  return bytes.includes(undefined) ? utf8.encode(token) : Uint8Array.from(bytes as number[])
}

function fallbackBytes(token: string): Uint8Array {
  const byte = /^<0x([0-9A-F]{2})>$/i.exec(token)
  return byte ? Uint8Array.of(Number.parseInt(byte[1]!, 16)) : utf8.encode(token.replaceAll('▁', ' '))
}
