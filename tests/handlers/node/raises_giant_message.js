exports.main = () => {
  throw new TypeError('m'.repeat(10_000_000));
};
