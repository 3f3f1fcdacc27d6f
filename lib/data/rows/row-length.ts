/** Tokens of a row at most, unless the user says otherwise or the model is made for fewer. */
export const DEFAULT_MAX_LENGTH = 1024
