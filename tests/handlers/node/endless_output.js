exports.main = () => {
  for (;;) process.stdout.write('all work and no play\n');
};
