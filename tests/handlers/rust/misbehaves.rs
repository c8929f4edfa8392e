//! What a program may do wrong, by the event's text.
use serde_json::json;
use std::hint::black_box;
use std::io::{read_to_string, stdin, stdout, Write};
use std::time::Duration;

fn main() {
    let event: String = serde_json::from_str(&read_to_string(stdin()).unwrap()).unwrap();
    match event.as_str() {
        "hang" => {
            eprintln!("waiting");
            std::thread::sleep(Duration::from_secs(3600));
        }
        "spin" => {
            eprintln!("spinning");
            while black_box(true) {}
        }
        "panics" => inner(black_box(3)),
        "panics_at_length" => panic!("{}", "m".repeat(100_000)),
        "divides_by_zero" => println!("{}", 1 / black_box(0)),
        "unreachable" => core::arch::wasm32::unreachable(),
        "recurses" => println!("{}", deeper(black_box(1))),
        "eats" => eats(),
        "eats_at_once" => println!("{}", black_box(Vec::<u8>::with_capacity(1 << 30)).len()),
        "exits_3" => {
            eprintln!("leaving");
            std::process::exit(3);
        }
        "exits_0" => {
            println!("\"left\"");
            std::process::exit(0);
        }
        "aborts" => std::process::abort(),
        "logs_endlessly" => loop {
            eprintln!("y");
        },
        "logs_endlessly_without_newline" => loop {
            eprint!("yyyyyyyyyyyyyyyy");
        },
        "floods" => {
            for _ in 0..300 {
                eprint!("{}", "y\n".repeat(5000));
            }
            println!("\"done\"");
        }
        "many_lines" => {
            for n in 0..10_000 {
                eprintln!("line {n}");
            }
            println!("\"done\"");
        }
        "result_endless" => loop {
            let _ = stdout().write_all(&[b'y'; 4096]);
        },
        "result_large" => println!("\"{}\"", "r".repeat(7 << 20)),
        "result_text" => println!("Hello, world"),
        "result_two" => println!("1\n2"),
        "result_nan" => println!("NaN"),
        "result_empty" => {}
        "result_bytes" => stdout().write_all(b"\"\xff\"").unwrap(),
        "looks_around" => looks_around(),
        "keeps_in_tmp" => keeps_in_tmp(),
        other => panic!("no such case: {other}"),
    }
}

#[inline(never)]
fn inner(number: u32) {
    panic!("bad number {number}");
}

#[allow(unconditional_recursion)]
#[inline(never)]
fn deeper(number: u64) -> u64 {
    let room = black_box([number; 64]);
    deeper(number + 1) + room[0]
}

fn eats() {
    eprintln!("eating");
    let mut kept = Vec::new();
    loop {
        kept.push(black_box(vec![1u8; 1 << 20]));
    }
}

fn looks_around() {
    let found = |path: &str| std::fs::read(path).is_ok() || std::fs::read_dir(path).is_ok();
    let writes = |path: &str| std::fs::write(path, "x").is_ok();
    let connects = std::net::TcpStream::connect("127.0.0.1:80").is_ok();
    let resolves = std::net::ToSocketAddrs::to_socket_addrs("localhost:80").is_ok();
    let seen = ["/", "/etc/passwd", "/proc/self/environ", "/var/task", "/run/nimbus", "/tmp/../etc/passwd", ".."];
    let seen: Vec<_> = seen.iter().filter(|path| found(path)).collect();
    let written: Vec<_> = ["/x", "/var/task/x", "/tmp/../x", "x"].iter().filter(|path| writes(path)).collect();
    println!("{}", json!({"reads": seen, "writes": written, "connects": connects || resolves}));
}

fn keeps_in_tmp() {
    let before = std::fs::read_to_string("/tmp/kept").unwrap_or_default();
    std::fs::write("/tmp/kept", format!("{before}x")).unwrap();
    println!("{}", json!(before.len()));
}
