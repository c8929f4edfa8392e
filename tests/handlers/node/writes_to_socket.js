const fs = require('node:fs');

exports.main = () => {
  for (const name of fs.readdirSync('/proc/self/fd')) {
    try {
      if (fs.fstatSync(Number(name)).isSocket()) fs.writeSync(Number(name), Buffer.alloc(64, 0xff));
    } catch {
      // not open any more
    }
  }
  return 'sent';
};
