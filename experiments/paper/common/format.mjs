export const percent = (value) => (100 * value).toFixed(1)
export const fixed = (digits) => (value) => value.toFixed(digits)
