//! A component whose interfaces have the right names and other types.

wit_bindgen::generate!({
    inline: "
        package vk:provider@0.1.0;
        interface node { configure: func() -> string; describe: func(); }
        interface pods { create: func(); update: func(); delete: func(); get: func(); poll: func(); }
        interface logs { read: func(query: string) -> string; }
        interface sessions { open: func(); }
        interface stats { write: func(); }
        world misfit { export node; export pods; export logs; export sessions; export stats; }
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

impl exports::vk::provider::logs::Guest for Misfit {
    fn read(query: String) -> String {
        query
    }
}

impl exports::vk::provider::sessions::Guest for Misfit {
    fn open() {}
}

impl exports::vk::provider::stats::Guest for Misfit {
    fn write() {}
}
