/** Thrown for what no grammar is made for; the message names it. */
export class Inexpressible extends Error {}
