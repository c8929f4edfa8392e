use serde::Serialize;
use std::env::var;

#[derive(Serialize)]
struct Answer {
    request_id: String,
    invocation_id: String,
    function_name: String,
    function_version: u32,
    memory_limit_mb: u32,
    timeout_sec: u64,
    alias: String,
    attempt: u32,
    trigger_type: String,
    left: bool,
}

fn text(name: &str) -> String {
    var(format!("NIMBUS_{name}")).unwrap()
}

fn main() {
    let remaining_ms: u64 = text("REMAINING_MS").parse().unwrap();
    let timeout_sec: u64 = text("TIMEOUT_SEC").parse().unwrap();
    let answer = Answer {
        request_id: text("REQUEST_ID"),
        invocation_id: text("INVOCATION_ID"),
        function_name: text("FUNCTION_NAME"),
        function_version: text("FUNCTION_VERSION").parse().unwrap(),
        memory_limit_mb: text("MEMORY_LIMIT_MB").parse().unwrap(),
        timeout_sec,
        alias: text("ALIAS"),
        attempt: text("ATTEMPT").parse().unwrap(),
        trigger_type: text("TRIGGER_TYPE"),
        left: 0 < remaining_ms && remaining_ms <= timeout_sec * 1000,
    };
    println!("{}", serde_json::to_string(&answer).unwrap());
}
