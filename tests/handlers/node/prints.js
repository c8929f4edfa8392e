exports.main = () => {
  console.log('one');
  console.error('two');
  process.stdout.write('thr');
  process.stdout.write('ee\nfour');
  process.stdout.write(Buffer.from(' bytes\n'));
  process.stdout.write('unfinished');
  return null;
};
