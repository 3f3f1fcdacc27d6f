/** The instructions of a Dockerfile, as far as those of docker/ go. */
import { readFileSync } from 'node:fs'

/** Returns the instructions in order, as `{ name, text }`: comments left out, continued lines joined. */
export function instructionsOf(path) {
  return readFileSync(path, 'utf8')
    .replace(/^#.*\n/gm, '')
    .replace(/\\\n\s*/g, '')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const [name, ...words] = line.split(' ')
      return { name, text: words.join(' ') }
    })
}

/** Returns the text of the last instruction of a name. */
export function lastOf(instructions, name) {
  return instructions.filter((each) => each.name === name).at(-1)?.text
}
