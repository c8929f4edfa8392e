exports.main = () => {
  process.kill(process.pid, 'SIGSEGV');
  for (;;);
};
