/** The safetensors format: reading headers, writing files, and folders of shards in Hugging Face's layout. */
export { readModelFolder } from './model-folder.js'
export type { SafetensorsDType } from './safetensors-dtype.js'
export { readSafetensorsHeader, type SafetensorsFile } from './safetensors-reader.js'
export {
  type SafetensorsEntry,
  type ShardOptions,
  safetensorsHeader,
  writeSafetensors,
  writeShardedSafetensors,
} from './safetensors-writer.js'
export { isComputable, type StoredDType, type TensorLocation } from './stored-dtype.js'
