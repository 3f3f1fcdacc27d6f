/** Reads a request's JSON. */
import { isObject } from '../common/arguments.js'
import { MoraError } from '../common/errors.js'
import { jsonIn, parseJson } from '../io/json.js'
import { excessOf } from '../io/json-scan.js'
import { ApiError } from './api-error.js'

/**
 * Returns the object in the body of a request.
 * @throws ApiError 413 for more than `most` bytes, 415 for another content type, 400 for anything but a JSON object
 */
export async function readBody(request: Request, most: number): Promise<Record<string, unknown>> {
  const type = request.headers.get('content-type') ?? ''
  if (!/^application\/json *(;|$)/i.test(type)) {
    throw new ApiError(415, 'Expected the content type application/json.', { code: 'unsupported_media_type' })
  }
  const text = await readText(request, most)
  const excess = excessOf(text, MOST_VALUES)
  if (excess === 'depth') throw invalidJson('The body nests values too deeply.')
  if (excess) throw invalidJson(`The body has more than ${MOST_VALUES} lists, objects and keys.`)
  const value = jsonIn(text)
  if (isObject(value)) {
    if (Object.keys(value).length <= MOST_PARAMETERS) return value
    throw invalidJson(`The body has more than ${MOST_PARAMETERS} parameters.`)
  }
  if (value !== undefined) throw invalidJson('Expected a JSON object in the body.')
  throw invalidJson(text.length > MOST_EXPLAINED ? 'The body is not valid JSON.' : problemOf(text))
}

/** Maximum number of lists, objects and keys of a body. Numbers and texts are not counted. */
const MOST_VALUES = 2 ** 18
const MOST_PARAMETERS = 1024

/** Maximum length of a body whose syntax error is located, which takes longer than parsing. */
const MOST_EXPLAINED = 2 ** 18

function problemOf(text: string): string {
  try {
    parseJson(text, 'The body')
  } catch (error) {
    if (error instanceof MoraError) return error.message
    throw error
  }
  return 'The body is not valid JSON.'
}

const invalidJson = (message: string) => new ApiError(400, message, { code: 'invalid_json' })

async function readText(request: Request, most: number): Promise<string> {
  const tooLarge = () =>
    new ApiError(413, `The body is larger than ${most} bytes.`, {
      code: 'body_too_large',
      // The rest of the body is not read, so the connection cannot be used again.
      headers: { connection: 'close' },
    })
  if (Number(request.headers.get('content-length') ?? 0) > most) throw tooLarge()
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let size = 0
  let text = ''
  try {
    for await (const chunk of request.body ?? []) {
      size += chunk.length
      if (size > most) throw tooLarge()
      text += decoder.decode(chunk, { stream: true })
    }
    return text + decoder.decode()
  } catch (error) {
    if (error instanceof ApiError) throw error
    throw new ApiError(400, 'The body could not be read as UTF-8.', { code: 'invalid_json', cause: error })
  }
}
