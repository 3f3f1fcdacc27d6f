import type { AdapterConfigBase, AdapterMethod, LayerOptions } from '../../lib/adapters/contract/adapter.js'
import type { LayerAdapter } from '../../lib/nn/layer-adapter.js'
import type { Parameter } from '../../lib/tensor/parameter.js'

/** Makes a method's layer from these tensors, given by their declared names. */
export function layerOf<Config extends AdapterConfigBase>(
  method: Pick<AdapterMethod<Config>, 'layer'>,
  config: Config,
  options: LayerOptions,
  tensors: Readonly<Record<string, Parameter>>,
): LayerAdapter {
  const none = () => new Int32Array()
  return method.layer(config, options, {
    has: (name) => name in tensors,
    parameter: (name) => tensors[name]!,
    integers: none,
  })
}
