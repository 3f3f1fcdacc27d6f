/** The exponent e of y = c xᵉ that fits best: least squares on logarithms. `points`: `[{ x, y }]`. */
export function exponentOf(points) {
  const logs = points.map(({ x, y }) => [Math.log(x), Math.log(y)])
  const mean = (at) => logs.reduce((sum, pair) => sum + pair[at], 0) / logs.length
  const [meanX, meanY] = [mean(0), mean(1)]
  let [products, squares] = [0, 0]
  for (const [x, y] of logs) {
    products += (x - meanX) * (y - meanY)
    squares += (x - meanX) ** 2
  }
  return products / squares
}
