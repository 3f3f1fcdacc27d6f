/** Who may speak in a conversation. */
import { quoted } from '../common/errors.js'
import { nearest } from '../schema/names.js'
import type { ChatTemplate } from '../text/template.js'
import type { Message } from '../text/templates/messages.js'
import { malformedRow } from './check.js'

const ROLES = ['system', 'developer', 'user', 'assistant', 'tool', 'function']

/**
 * Checks the roles of messages, since many templates print any role and would train a misspelled one. Roles that are common, or
 * that the template names, are valid.
 *
 * @param roleAt the place of each role in its row
 * @throws InputError `malformed-row`
 */
export function checkRoles(
  messages: readonly Message[],
  template: ChatTemplate,
  where: string,
  roleAt: readonly string[] = [],
): void {
  for (const [i, { role }] of messages.entries()) {
    if (ROLES.includes(role) || template.names(role)) continue
    const near = nearest(role, ROLES)
    const way = near
      ? `perhaps ${quoted(near)} was meant`
      : `known are ${ROLES.join(', ')}, and the roles that the template names`
    throw malformedRow(
      where,
      `${roleAt[i] ?? `messages[${i}].role`}: ${quoted(role)} is no role that the chat template names; ${way}`,
    )
  }
}
