//! The library's form, and what can be wrong with it, by the event's text.
use serde_json::{json, Value};
use std::sync::atomic::{AtomicU32, Ordering};

static COUNT: AtomicU32 = AtomicU32::new(0);

#[no_mangle]
pub extern "C" fn alloc(size: usize) -> *mut u8 {
    Box::into_raw(vec![0u8; size.max(1)].into_boxed_slice()) as *mut u8
}

#[no_mangle]
pub extern "C" fn handle(ptr: *mut u8, len: usize) -> u64 {
    let event: Value = serde_json::from_slice(unsafe { std::slice::from_raw_parts(ptr, len) }).unwrap();
    match event.as_str() {
        Some("prints") => {
            println!("out");
            eprintln!("err");
        }
        Some("counts") => return packed(json!(COUNT.fetch_add(1, Ordering::SeqCst) + 1).to_string()),
        Some("panics") => panic!("bad event"),
        Some("spin") => loop {
            std::hint::black_box(());
        },
        Some("exits_0") => std::process::exit(0),
        Some("exits_3") => std::process::exit(3),
        Some("points_outside") => return (0xffff_0000 << 32) | 10,
        Some("result_empty") => return 0,
        Some("result_text") => return packed("Hello".to_string()),
        Some("result_large") => return packed(format!("\"{}\"", "r".repeat(7 << 20))),
        _ => {}
    }
    packed(event.to_string())
}

fn packed(text: String) -> u64 {
    let bytes = text.into_bytes().leak();
    ((bytes.as_ptr() as u64) << 32) | bytes.len() as u64
}
