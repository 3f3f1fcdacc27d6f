/** The safetensors format: reading headers, writing files, and folders of shards in Hugging Face's layout. */
export { readModelFolder } from './model-folder.js'
export { readSafetensorsHeader, type SafetensorsFile } from './safetensors-reader.js'
export {
  type SafetensorsEntry,
  safetensorsHeader,
  writeSafetensors,
  writeShardedSafetensors,
} from './safetensors-writer.js'
export type { SafetensorsDType } from './stored-dtype.js'
