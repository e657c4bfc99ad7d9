//! A component for another version of the contract, with an import that no host offers.

wit_bindgen::generate!({
    inline: "
        package vk:provider@0.2.0;
        interface shelf { read: func() -> string; }
        interface node { configure: func() -> string; }
        interface pods { create: func(); }
        world foreign { import shelf; export node; export pods; }
    ",
});

struct Foreign;

export!(Foreign);

impl exports::vk::provider::node::Guest for Foreign {
    fn configure() -> String {
        vk::provider::shelf::read()
    }
}

impl exports::vk::provider::pods::Guest for Foreign {
    fn create() {}
}
