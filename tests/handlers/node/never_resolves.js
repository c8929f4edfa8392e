exports.main = () => {
  console.log('waiting');
  return new Promise(() => {});
};
