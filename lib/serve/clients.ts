/** The clients of requests, by the names of their keys. */

const names = new WeakMap<Request, string>()

/** Notes the client of a request; null if keys have no names. */
export function noteClient(request: Request, name: string | null): void {
  if (name !== null) names.set(request, name)
}

/** Returns the name of a request's key; null if keys have no names. */
export const clientOf = (request: Request): string | null => names.get(request) ?? null
