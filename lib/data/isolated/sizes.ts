/** How much work requests are. */
import { textsOf } from '../templates/messages.js'
import type { Request } from './process.js'

/** Returns about how many characters a request has. */
export function sizeOf(request: Request): number {
  if (request.asks === 'encoded') return request.text.length
  if (request.asks === 'decoded') return request.ids.length
  if (!('messages' in request)) return 0
  let characters = 0
  for (const message of request.messages) for (const text of textsOf(message)) characters += text.length
  return characters
}
