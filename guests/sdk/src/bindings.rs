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

// Each optional interface is a world of its own: only what a component exports through `export!` gets into it.

pub mod logs {
    wit_bindgen::generate!({
        path: "wit",
        inline: "package vk:sdk; world logs { export vk:provider/logs@0.1.0; }",
        world: "vk:sdk/logs",
        pub_export_macro: true,
        default_bindings_module: "vk_sdk::bindings::logs",
        with: { "vk:provider/types@0.1.0": crate::bindings::vk::provider::types },
        additional_derives: [PartialEq],
    });
}

pub mod sessions {
    wit_bindgen::generate!({
        path: "wit",
        inline: "package vk:sdk; world sessions { export vk:provider/sessions@0.1.0; }",
        world: "vk:sdk/sessions",
        pub_export_macro: true,
        default_bindings_module: "vk_sdk::bindings::sessions",
        with: { "vk:provider/types@0.1.0": crate::bindings::vk::provider::types },
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
    });
}

pub mod stats {
    wit_bindgen::generate!({
        path: "wit",
        inline: "package vk:sdk; world stats { export vk:provider/stats@0.1.0; }",
        world: "vk:sdk/stats",
        pub_export_macro: true,
        default_bindings_module: "vk_sdk::bindings::stats",
        with: { "vk:provider/types@0.1.0": crate::bindings::vk::provider::types },
        additional_derives: [PartialEq],
    });
}
