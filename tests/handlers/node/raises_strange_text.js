exports.main = () => {
  throw new TypeError('nul \0 lone \ud800 end');
};
