/** Default limit of a row's tokens; a model with fewer positions lowers it. */
export const DEFAULT_MAX_LENGTH = 1024
