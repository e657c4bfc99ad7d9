//! A component whose interfaces have the right names and other types.

wit_bindgen::generate!({
    inline: "
        package vk:provider@0.1.0;
        interface node { configure: func() -> string; describe: func(); }
        interface pods { create: func(); update: func(); delete: func(); get: func(); poll: func(); }
        world misfit { export node; export pods; }
    ",
});

struct Misfit;

export!(Misfit);

impl exports::vk::provider::node::Guest for Misfit {
    fn configure() -> String {
        String::new()
    }

    fn describe() {}
}

impl exports::vk::provider::pods::Guest for Misfit {
    fn create() {}
    fn update() {}
    fn delete() {}
    fn get() {}
    fn poll() {}
}
