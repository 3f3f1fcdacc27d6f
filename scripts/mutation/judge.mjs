/** The fates of mutants: a table for each file, and the mutants that no test noticed although one should. */

/**
 * @typedef {{ file: string, line: number, text: string, fate: 'noticed' | 'endless' | 'unnoticed' }} Mutant
 * The text is its line, as it is changed.
 */

/**
 * @param {readonly Mutant[]} mutants
 * @param {Readonly<Record<string, readonly string[]>>} equivalents by file, a part of the line of each mutant that computes the same
 */
export function judge(mutants, equivalents) {
  const files = [...new Set(mutants.map(({ file }) => file))]
  const notes = []
  const table = files.map((file) => {
    const row = { file, mutants: 0, noticed: 0, endless: 0, equivalent: 0, survived: 0 }
    const stale = new Set(equivalents[file])
    for (const mutant of mutants.filter((one) => one.file === file)) {
      const { line, text, fate } = mutant
      row.mutants++
      const known = equivalents[file]?.find((one) => text.includes(one))
      if (fate === 'noticed') row.noticed++
      else if (fate === 'endless') {
        row.endless++
        // To be looked at: a busy machine also causes these.
        notes.push(`${file}:${line}: ${text} (no end)`)
      } else if (known !== undefined) {
        row.equivalent++
        stale.delete(known)
      } else {
        row.survived++
        notes.push(`${file}:${line}: ${text}`)
      }
    }
    for (const one of stale) notes.push(`${file}: no mutant with "${one}" goes unnoticed; its entry can go`)
    return row
  })
  return { table, notes, passes: table.length > 0 && table.every(({ survived }) => survived === 0) }
}
