exports.main = (event) => {
  if (event === 'small') return 'small';
  if (event === 'text') return 'x'.repeat(100_000_000);
  const row = new Array(1000).fill(0);
  return new Array(100_000).fill(row);
};
