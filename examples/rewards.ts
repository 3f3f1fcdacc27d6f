/**
 * Rewards for the command line: each function that a module exports is one.
 *
 *     mora train --model SmolLM2-135M-Instruct.Q4_1.gguf --data prompts.jsonl --objective grpo --rewards examples/rewards.ts --output out
 */
import { type JudgedAnswer, tagsReward } from 'node-mora'

export const short = ({ ids }: JudgedAnswer): number => -ids.length / 100
export const format = tagsReward('answer')
