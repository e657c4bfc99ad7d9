//! The contract as Rust types, generated from `wit/provider.wit`. Which of the interfaces a component exports, `guest`
//! finds out.
#![allow(missing_docs, reason = "generated; wit/provider.wit documents the items")]
#![allow(clippy::all, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "vk:provider/full-provider",
    imports: { "vk:provider/http.send": async },
    exports: { default: async },
    // Pods carry files and manifests: they are lowered into the guest from where they are, without a copy in between.
    ownership: Borrowing { duplicate_if_necessary: true },
});
