exports.main = () => {
  for (;;) process.stdout.write('z'.repeat(1000));
};
