import { z } from 'zod'

/** Objects with no other fields than these. */
export function onlyFields<Shape extends z.ZodRawShape>(shape: Shape) {
  const names = Object.keys(shape).join(', ')
  return z.looseObject(shape, { error: 'an object' }).superRefine((given, context) => {
    const unknown = Object.keys(given).find((name) => !Object.hasOwn(shape, name))
    if (unknown === undefined) return
    context.addIssue({ code: 'custom', path: [unknown], message: `nothing (the fields are ${names})` })
  })
}
