/** Splits a command line as a shell would: at blanks. A value is one word, and a list of values several. */
export function words(texts: TemplateStringsArray, ...values: readonly (string | readonly string[])[]): string[] {
  const split = (text: string) => text.split(/\s+/).filter((word) => word !== '')
  return texts.raw.flatMap((text, i) => [...split(text), ...[values[i] ?? []].flat()])
}
