/** Instructions about words, as conversations, and multiple-choice questions about the same skills. */
import { chooser, randomWord, SKILLS } from './language.mjs'

/** `{messages}` rows: half ask in a sentence, half as the task `choices` does. */
export function chatRows(count, seed) {
  const choose = chooser(seed, 'conversations')
  return Array.from({ length: count }, (_, i) => {
    const word = randomWord(choose)
    const { name, answer } = choose.pick(Object.values(SKILLS))
    return conversation(i % 2 === 0 ? `Write ${word} ${name}.` : `${question(word, name)}\nAnswer:`, answer(word))
  })
}

/** `{subject, question, choices, answer}` rows for the task `choices`, to be scored by the text of the choices. */
export function choiceRows(count, seed) {
  const choose = chooser(seed, 'choices')
  return Array.from({ length: count }, () => {
    const word = randomWord(choose)
    const subject = choose.pick(Object.keys(SKILLS))
    const { name, answer } = SKILLS[subject]
    const choices = [answer(word)]
    // A wrong choice is the right one for a word that differs in two letters, so its form gives nothing away.
    while (choices.length < 4) {
      const at = 2 * choose.below(3)
      const other = answer(word.slice(0, at) + randomWord(choose).slice(0, 2) + word.slice(at + 2))
      if (!choices.includes(other)) choices.push(other)
    }
    const at = choose.below(4)
    ;[choices[0], choices[at]] = [choices[at], choices[0]]
    return { subject, question: question(word, name), choices, answer: at }
  })
}

const question = (word, name) => `What is ${word} ${name}?`

function conversation(user, assistant) {
  return {
    messages: [
      { role: 'user', content: user },
      { role: 'assistant', content: assistant },
    ],
  }
}
