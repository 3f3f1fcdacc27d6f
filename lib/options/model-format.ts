/** How a model is written, and where. */
import { join } from 'node:path'

/** A folder in Hugging Face's layout, or one GGUF file. */
export const MODEL_FORMATS = ['safetensors', 'gguf'] as const
export type ModelFormat = (typeof MODEL_FORMATS)[number]

/** The format asked for, or that of an output's name. */
export function formatOf(output: string, format?: ModelFormat): ModelFormat {
  return format ?? (isGguf(output) ? 'gguf' : 'safetensors')
}

/** The file or folder that a model is written to: of GGUF, `model.gguf` in an output that does not end with `.gguf`. */
export function modelPath(output: string, format: ModelFormat): string {
  return format === 'gguf' && !isGguf(output) ? join(output, 'model.gguf') : output
}

function isGguf(path: string): boolean {
  return /\.gguf$/i.test(path)
}
