exports.main = () => {
  console.log('spinning');
  for (;;);
};
