use std::io::{read_to_string, stdin};

fn main() {
    let event: serde_json::Value = serde_json::from_str(&read_to_string(stdin()).unwrap()).unwrap();
    println!("{event}");
}
