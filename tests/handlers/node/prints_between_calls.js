const fs = require('node:fs');

exports.main = (event) => {
  if (event === 1) {
    process.chdir(process.env.HOME);
    const timer = setInterval(() => {
      if (!fs.existsSync('go')) return;
      clearInterval(timer);
      console.log('between');
      fs.writeFileSync('done', '');
    }, 5);
  }
  return event;
};
