//! Draws a piece of the Mandelbrot set: the event on stdin, the result on stdout.

use serde::{Deserialize, Serialize};

const SHADES: &[u8] = b" .:-=+*#%@";

#[derive(Deserialize)]
#[serde(default)]
struct Event {
    width: usize,
    height: usize,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    iterations: usize,
}

impl Default for Event {
    fn default() -> Self {
        Event { width: 60, height: 24, left: -2.2, right: 0.8, top: 1.2, bottom: -1.2, iterations: 200 }
    }
}

#[derive(Serialize)]
struct Picture {
    lines: Vec<String>,
    inside: usize,
}

/// Steps until the point runs away; `most` when it does not.
fn steps(re: f64, im: f64, most: usize) -> usize {
    let (mut x, mut y) = (0.0, 0.0);
    for step in 0..most {
        if x * x + y * y > 4.0 {
            return step;
        }
        (x, y) = (x * x - y * y + re, 2.0 * x * y + im);
    }
    most
}

fn main() {
    let event: Event = serde_json::from_reader(std::io::stdin()).expect("the event is not what it should be");
    let (width, height) = (event.width.clamp(2, 400), event.height.clamp(2, 200));
    let mut inside = 0;
    let mut lines = Vec::with_capacity(height);
    for row in 0..height {
        let im = event.top + (event.bottom - event.top) * row as f64 / (height - 1) as f64;
        let line = (0..width).map(|column| {
            let re = event.left + (event.right - event.left) * column as f64 / (width - 1) as f64;
            let count = steps(re, im, event.iterations);
            inside += usize::from(count == event.iterations);
            SHADES[count * (SHADES.len() - 1) / event.iterations.max(1)] as char
        });
        lines.push(line.collect());
    }
    serde_json::to_writer(std::io::stdout(), &Picture { lines, inside }).expect("stdout takes the result");
}
