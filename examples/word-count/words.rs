//! Counts the words of a text. A library: the platform asks for memory, writes the event there and calls `handle`.

use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Event {
    text: String,
}

#[derive(Serialize)]
struct Counted<'a> {
    lines: usize,
    words: usize,
    longest: &'a str,
}

#[no_mangle]
pub extern "C" fn alloc(size: u32) -> *mut u8 {
    Box::leak(vec![0u8; size as usize].into_boxed_slice()).as_mut_ptr()
}

#[no_mangle]
pub extern "C" fn handle(at: *const u8, size: u32) -> u64 {
    let given = unsafe { std::slice::from_raw_parts(at, size as usize) };
    let event: Event = serde_json::from_slice(given).expect("the event has no text");
    let words: Vec<&str> = event.text.split_whitespace().collect();
    // Of several longest words the first.
    let longest = words.iter().rev().max_by_key(|word| word.chars().count()).unwrap_or(&"");
    let counted = Counted { lines: event.text.lines().count(), words: words.len(), longest };
    let answer = Box::leak(serde_json::to_vec(&counted).expect("it is plain data").into_boxed_slice());
    ((answer.as_ptr() as u64) << 32) | answer.len() as u64
}
