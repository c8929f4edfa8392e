const fs = require('node:fs');

exports.main = () => {
  for (let at = 0; at < 300; at++) fs.writeSync(1, 'y\n'.repeat(5000));
  return 'done';
};
