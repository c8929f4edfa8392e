const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

exports.main = () => {
  const file = path.join(os.tmpdir(), 'big');
  const fd = fs.openSync(file, 'w');
  const block = Buffer.alloc(1_000_000, 'x');
  try {
    for (let at = 0; at < 1000; at++) if (fs.writeSync(fd, block) < block.length) fs.writeSync(fd, block);
  } catch (error) {
    return error.code;
  } finally {
    fs.closeSync(fd);
    fs.unlinkSync(file);
  }
};
