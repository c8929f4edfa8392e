use serde_json::json;
use std::env::{var, vars};

fn main() {
    let colour = var("COLOUR").unwrap();
    let names: Vec<String> = vars().map(|(name, _)| name).collect();
    println!("{}", json!({"at_import": colour, "now": colour, "names": names}));
}
