exports.main = () => {
  for (let number = 0; number < 10_000; number++) console.log('line', number);
  return 'done';
};
