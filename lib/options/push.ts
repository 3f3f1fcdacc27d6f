/** Options of `mora push` and `pushToHub()`. */
import { z } from 'zod'
import { REPOSITORY, REVISION } from '../hub/index.js'
import { flag, names, optionalPattern, text } from '../schema/option.js'
import { type LibraryInput, required } from '../schema/option-facts.js'
import { commonOptionsOfCommand } from './common.js'

export const PushSchema = z.strictObject({
  path: required(
    text('what to upload: the folder of an adapter, a run or a model, or a .gguf file', 'FOLDER', {
      expects: 'the path of a folder or .gguf file',
    }),
  ),
  repository: required(
    optionalPattern('target: a model repository of the hub, created if it does not exist', 'OWNER/NAME', REPOSITORY, {
      expects: 'a repository as owner/name',
    }),
  ),
  private: flag('make the repository private; refused if it exists and is public'),
  revision: optionalPattern('upload to this branch, created from main if it does not exist', 'BRANCH', REVISION, {
    expects: 'the name of a branch',
    defaultText: 'main',
  }),
  message: text('first line of the commit message', 'TEXT', { defaultText: 'a line that names the upload' }),
  checkpoints: flag("upload checkpoints too, with the optimizer's state"),
  include: names('further files and folders to upload beside the adapter, the model or the run'),
  ...commonOptionsOfCommand,
})

export type PushInput = LibraryInput<typeof PushSchema>
