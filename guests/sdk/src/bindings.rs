//! What wit-bindgen makes of the contract.
#![allow(missing_docs, reason = "the documentation is the comments of provider.wit")]
#![allow(clippy::same_length_and_capacity, reason = "generated: the canonical ABI hands over exact allocations")]

wit_bindgen::generate!({
    path: "wit",
    world: "provider",
    pub_export_macro: true,
    default_bindings_module: "vk_sdk::bindings",
    additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
});
