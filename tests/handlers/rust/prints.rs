fn main() {
    eprintln!("one");
    eprint!("thr");
    eprint!("ee\nunfinished");
    println!("null");
}
