const { spawnSync } = require('node:child_process');
const fs = require('node:fs');

exports.main = () => {
  console.log('before');
  fs.writeSync(1, 'written\n');
  spawnSync(process.execPath, ['-e', 'console.log("from a child")'], { stdio: 'inherit' });
  console.log('after');
  fs.writeSync(2, 'last\n');
  return 1;
};
