// Part of oneDNN as it is built here: parts that are left out are listed as having no implementation.
#include "cpu/cpu_engine.hpp"
#include "cpu/reorder/cpu_reorder.hpp"

namespace dnnl {
namespace impl {
namespace cpu {
namespace {

const impl_list_item_t none[] = {nullptr};
const impl_list_map_t noReorders;

}  // namespace

#define NO_PRIMITIVE(kind) \
  const impl_list_item_t* get_##kind##_impl_list(const kind##_desc_t*) { return none; }
NO_PRIMITIVE(batch_normalization)
NO_PRIMITIVE(binary)
NO_PRIMITIVE(convolution)
NO_PRIMITIVE(deconvolution)
NO_PRIMITIVE(eltwise)
NO_PRIMITIVE(group_normalization)
NO_PRIMITIVE(inner_product)
NO_PRIMITIVE(layer_normalization)
NO_PRIMITIVE(lrn)
NO_PRIMITIVE(pooling)
NO_PRIMITIVE(prelu)
NO_PRIMITIVE(reduction)
NO_PRIMITIVE(resampling)
NO_PRIMITIVE(rnn)
NO_PRIMITIVE(shuffle)
NO_PRIMITIVE(softmax)

const impl_list_item_t* cpu_engine_impl_list_t::get_concat_implementation_list() { return none; }
const impl_list_item_t* cpu_engine_impl_list_t::get_sum_implementation_list() { return none; }

// Reorders keep the type: float32, bfloat16, or 8 bits.
#define NO_REORDER(types) \
  const impl_list_map_t& types##_impl_list_map() { return noReorders; }
NO_REORDER(regular_fp4)
NO_REORDER(regular_fp8)
NO_REORDER(regular_f16)
NO_REORDER(regular_s32)
NO_REORDER(regular_u8)
NO_REORDER(regular_s4)
NO_REORDER(regular_u4)
NO_REORDER(regular_f32_fp8)
NO_REORDER(regular_f32_bf16)
NO_REORDER(regular_f32_f16)
NO_REORDER(regular_f32_s32)
NO_REORDER(regular_f32_s8)
NO_REORDER(regular_f32_u8)
NO_REORDER(comp_f32_s8)
NO_REORDER(comp_bf16_s8)

}  // namespace cpu
}  // namespace impl
}  // namespace dnnl
