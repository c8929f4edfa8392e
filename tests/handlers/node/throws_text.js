exports.main = () => {
  throw 'just text';
};
