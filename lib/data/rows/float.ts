/** Numbers as a JSON file has them, where JavaScript's own would lose how they are written. */

/** A number that is written with a fraction or an exponent though it is whole, as 2.0: templates write it so again. */
export class Float {
  constructor(readonly value: number) {}
}
