const fs = require('node:fs');

exports.main = (event) => {
  console.log('said', event);
  process.stdout.end();
  process.stdout.destroy();
  return event;
};
