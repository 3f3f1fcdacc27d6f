/** What to do with an adapter that PEFT computes and this package does not; it ends a sentence. */
export const MERGE_WITH_PEFT = 'merge it with PEFT (merge_and_unload()), and use the saved model in place of the base'
