exports.main = () => new Promise(() => {
  setTimeout(() => {
    throw new RangeError('from a timer');
  }, 1);
});
