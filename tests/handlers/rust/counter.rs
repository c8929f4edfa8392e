use std::sync::atomic::{AtomicU32, Ordering};

static COUNT: AtomicU32 = AtomicU32::new(0);

fn main() {
    println!("{}", COUNT.fetch_add(1, Ordering::SeqCst) + 1);
}
