/** Options of `mora push`. */
import { z } from 'zod'
import { REPOSITORY, REVISION } from '../hub/index.js'
import { flag, names, optionalPattern, text } from '../schema/option.js'
import { type LibraryInput, required } from '../schema/option-facts.js'
import { commonOptions } from './common.js'

const pushOptions = {
  path: required(
    text('what to upload: the folder of an adapter, a run or a model, or a .gguf file', 'FOLDER', {
      expects: 'the path of a folder or .gguf file',
    }),
  ),
  repository: required(
    optionalPattern('where to: a model of the hub, made if it is not there', 'OWNER/NAME', REPOSITORY, {
      expects: 'a repository as owner/name',
    }),
  ),
  private: flag('make the repository a private one; refused if it is there and public'),
  revision: optionalPattern('upload to this branch, made of main if it is not there', 'BRANCH', REVISION, {
    expects: 'the name of a branch',
    defaultText: 'main',
  }),
  message: text('first line of the commit', 'TEXT', { defaultText: 'what is uploaded' }),
  checkpoints: flag("upload checkpoints too, with the optimizer's state"),
  include: names('files and folders to upload beside those of an adapter, a model or a run'),
}

export const PushSchema = z.strictObject({ ...pushOptions, ...commonOptions })

/** Options of the library's `pushToHub`. */
export const PushCallSchema = z.strictObject(pushOptions)

export type PushInput = LibraryInput<typeof PushCallSchema>
