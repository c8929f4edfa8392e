const v8 = require('node:v8');
const vm = require('node:vm');

v8.setFlagsFromString('--expose-gc');
const gc = vm.runInNewContext('gc');
const MB = 1024 * 1024;

/** Holds as many megabytes for a moment, and waits until they are given back: a thread of V8's does that. */
exports.main = (mb) => {
  if (!mb) return 0;
  const before = process.memoryUsage.rss();
  let held = Buffer.alloc(mb * MB, 1);
  const { length } = held;
  held = null;
  gc();
  while (process.memoryUsage.rss() > before + 8 * MB) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
  return length;
};
