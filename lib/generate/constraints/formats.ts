/** Formats of texts that constraints enforce, as regular expressions. */
import { z } from 'zod'

/** A label of a host's name, and a name whose last label is no number. */
const LABEL = '[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?'
const NAME = `(?:${LABEL}\\.)*[A-Za-z](?:[A-Za-z0-9-]*[A-Za-z0-9])?`
const PORT = '(?::(?:6553[0-5]|655[0-2]\\d|65[0-4]\\d{2}|6[0-4]\\d{3}|[1-5]\\d{4}|[1-9]\\d{0,3}))?'
const PATH_CHARACTER = "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
const PATH = `(?:${PATH_CHARACTER}|\\/)*`
const QUERY = `(?:\\?(?:${PATH_CHARACTER}|[\\/?])*)?(?:#(?:${PATH_CHARACTER}|[\\/?])*)?`
/** Schemes whose addresses have a host, which browsers check. */
const WEB = '(?:https?|wss?|ftp)'
const ANY_CASE = '(?:[hH][tT]{2}[pP][sS]?|[wW][sS]{1,2}|[fF][tT][pP]|[fF][iI][lL][eE]):'

/** JSON of a token's header, as Base64. */
const headers = ['HS', 'RS', 'ES', 'PS'].flatMap((kind) =>
  [256, 384, 512].map((bits) => Buffer.from(`{"alg":"${kind}${bits}","typ":"JWT"}`).toString('base64url')),
)

export const FORMATS: Readonly<Record<string, string>> = {
  date: z.regexes.date.source,
  time: '^(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d+)?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)$',
  'date-time': z.regexes.datetime({ offset: true }).source,
  duration: '^P(?:\\d+W|(?=\\d|T)(?:\\d+Y)?(?:\\d+M)?(?:\\d+D)?(?:T(?=\\d)(?:\\d+H)?(?:\\d+M)?(?:\\d+S)?)?)$',
  email: '^[A-Za-z0-9_+-]+(?:\\.[A-Za-z0-9_+-]+)*@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\\.)+[A-Za-z]{2,}$',
  // A name of at most 63 characters has no label that is too long.
  hostname: `^(?=.{1,63}$)${LABEL}(?:\\.${LABEL})*$`,
  ipv4: z.regexes.ipv4.source,
  ipv6: z.regexes.ipv6.source,
  uri: [
    `^(?!${WEB}:\\/\\/[^\\/?#]*[xX][nN]--)${WEB}:\\/\\/(?:${NAME}|${z.regexes.ipv4.source.slice(1, -1)})${PORT}(?:\\/${PATH})?${QUERY}$`,
    `^(?!${ANY_CASE})[A-Za-z][A-Za-z0-9+.-]*:(?:\\/\\/(?:${LABEL}(?::${LABEL})?@)?${NAME}${PORT}(?:\\/${PATH})?|\\/?${PATH_CHARACTER}${PATH})${QUERY}$`,
  ].join('|'),
  uuid: '^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$',
  jwt: `^(?:${headers.join('|')})\\.[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+$`,
  byte: z.regexes.base64.source,
  password: '',
}

/** Narrower expressions in place of those whose automata are too large. */
export const NARROWER: Readonly<Record<string, string>> = { [z.regexes.hostname.source]: FORMATS.hostname! }

/** Bounds of formats of numbers; others do not limit them. */
export const NUMBER_FORMATS: Readonly<Record<string, readonly [least: number, most: number]>> = {
  int32: [-(2 ** 31), 2 ** 31 - 1],
  uint32: [0, 2 ** 32 - 1],
}
